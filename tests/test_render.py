"""Pictures and videos where something can be drawn without a screen; a clear line where not."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.runs import refused

import diffmaac
from diffmaac import SettingError, get_task, render
from diffmaac.cli import app
from diffmaac.system import MujocoSystem, parse_mjcf


def can_draw() -> bool:
    try:
        return bool(render.backend())
    except SettingError:
        return False


needs_gl = pytest.mark.skipif(not can_draw(), reason="neither EGL nor OSMesa is installed")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings: dict[str, Any] = {"steps": 40, "random_steps": 20, "epoch_steps": 20, "final_episodes": 1}
    settings |= {"eval_episodes": 1, "log": "csv", "progress": False}
    out = tmp_path_factory.mktemp("runs") / "run"
    return diffmaac.train("pendulum", algorithm="sac", **settings, out=str(out)).path


@needs_gl
def test_the_picture_follows_the_state() -> None:
    env = get_task("pendulum").make_env("rgb_array")
    env.reset(seed=0)
    before, again = env.picture(), env.render()
    assert before.shape == (render.HEIGHT, render.WIDTH, 3) and before.dtype == np.uint8
    assert again is not None and np.array_equal(before, again)
    for _ in range(10):
        env.step(np.ones(1))
    moved = np.abs(env.picture().astype(int) - before).max(-1) > 30
    assert 0.001 < moved.mean() < 0.2  # the rod moved, and nothing else
    env.close()
    assert get_task("pendulum").make_env().render() is None


@needs_gl
def test_floors_reach_farther_than_the_model_says_and_the_model_stays() -> None:
    system = get_task("hopper").system
    assert isinstance(system, MujocoSystem)
    sizes = system.model.geom_size.copy()
    drawn = render.Renderer(system.model)
    far = system.model.qpos0.copy()
    far[0] = 500.0  # m; Gymnasium's floor ends at 40
    picture = drawn.frame(far, np.zeros(system.model.nv))
    drawn.close()
    assert np.array_equal(system.model.geom_size, sizes)
    assert len(np.unique(picture[-40:].reshape(-1, 3), axis=0)) > 1  # squares of the floor, no empty ground


@needs_gl
def test_a_floor_needs_no_material() -> None:
    """Nor are the materials of others changed by it."""
    ball = '<geom type="sphere" size="0.1" pos="0 0 1" material="m"/>'
    floor = '<geom type="plane" size="1 1 0.1"/>'
    for assets, bodies in (("", floor), ('<asset><material name="m"/></asset>', floor + ball)):
        drawn = render.Renderer(parse_mjcf(f"<mujoco>{assets}<worldbody>{bodies}</worldbody></mujoco>"))
        assert drawn.frame(np.zeros(0), np.zeros(0)).shape == (render.HEIGHT, render.WIDTH, 3)
        assert (drawn._model.mat_texrepeat == 1).all()
        drawn.close()


@needs_gl
@pytest.mark.skipif(importlib.util.find_spec("av") is None, reason="PyAV is not installed")
def test_a_video_lasts_as_long_as_its_episode(finished: Path, tmp_path: Path) -> None:
    import av

    file = tmp_path / "episode.mp4"
    app(["evaluate", str(finished), "episodes=2", f"video={file}"], standalone_mode=False)
    with av.open(str(file)) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
        assert (video.duration or 0) / 1e6 == pytest.approx(200 * 0.05)  # PyAV counts microseconds
    assert len(frames) == 200 and frames[0].shape == (render.HEIGHT, render.WIDTH, 3)
    assert np.abs(frames[0].astype(int) - frames[20]).max() > 30


def test_fast_steps_are_thinned(tmp_path: Path) -> None:
    pytest.importorskip("av")
    drawn = []
    with render.VideoWriter(tmp_path / "v.mp4", dt=0.008) as writer:
        for i in range(10):
            writer.add(lambda i=i: drawn.append(i) or np.zeros((render.HEIGHT, render.WIDTH, 3), np.uint8))
    assert drawn == [0, 2, 4, 6, 8]  # 125 pictures a second, of which every second is kept


def test_without_a_backend_the_packages_are_named(finished: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(render, "_works", lambda name: False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    render.backend.cache_clear()
    err = refused("evaluate", str(finished), f"video={tmp_path / 'v.mp4'}", capsys=capsys)
    render.backend.cache_clear()
    assert (
        "MuJoCo needs EGL or OSMESA" in err
        and "on Debian for example libegl1 with libgl1-mesa-dri or libosmesa6." in err
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("video", "message"), [("v.gif", "must end in .mp4"), ("no/such/v.mp4", "there is no directory")]
)
def test_a_bad_file_name_is_one_line(video: str, message: str, finished: Path, capsys) -> None:
    assert message in refused("evaluate", str(finished), f"video={video}", capsys=capsys)


def test_a_video_that_cannot_be_written_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").mkdir()
    with pytest.raises(SettingError, match=r"video=.*v\.mp4: is a directory"):
        render.check_video(tmp_path / "v.mp4")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "missing" / "v.mp4")
    with pytest.raises(SettingError, match=r"video=.*link\.mp4: cannot be written: No such file"):
        render.check_video(tmp_path / "link.mp4")


def test_without_the_encoder_the_extra_is_named(finished: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    err = refused("evaluate", str(finished), f"video={tmp_path / 'v.mp4'}", capsys=capsys)
    assert "pip install diffmaac[video]" in err


def test_closed_forms_have_nothing_to_draw() -> None:
    with pytest.raises(SettingError, match="has no MuJoCo model to draw"):
        get_task("double_integrator").make_env("rgb_array")
    with pytest.raises(SettingError, match="render_mode='human'"):
        get_task("pendulum").make_env("human")
