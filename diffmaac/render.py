"""Pictures of a MuJoCo model without a screen, and videos of them."""

import copy
import importlib
import importlib.util
import math
import os
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

import mujoco
import numpy as np

from diffmaac.errors import SettingError
from diffmaac.settings import check_file

WIDTH, HEIGHT = 480, 368
"""Pixels; multiples of 16, which video encoders like, within the 640 x 480 that models allow unless they say more."""
FRAMES_PER_SECOND = 50
BACKENDS = {"egl": "libegl1 with libgl1-mesa-dri", "osmesa": "libosmesa6"}
"""Backend of MuJoCo's off-screen rendering -> the Debian packages that bring it, on a machine without a GPU too."""
PROBE_SECONDS = 60
FARTHER = 25
MARGIN = 1.7
"""MuJoCo's own view just holds the model at rest; what swings or drives away needs more of it."""


@cache
def backend() -> str:
    """The first of `BACKENDS` that works here; MUJOCO_GL, where it names one of them, is the only one tried.

    Raises SettingError where none does.
    """
    wished = os.environ.get("MUJOCO_GL", "").lower()
    tried = [wished] if wished in BACKENDS else list(BACKENDS)
    for name in tried:
        if _works(name):
            return name
    missing, packages = (" or ".join(names) for names in ((n.upper() for n in tried), (BACKENDS[n] for n in tried)))
    raise SettingError(
        f"nothing can be drawn here: without a screen MuJoCo needs {missing}, which this machine has not."
        f" Install it, on Debian for example {packages}."
    )


def _works(name: str) -> bool:
    """Whether a context can be made, in a process of its own: OpenGL's platform cannot be chosen twice in one."""
    program = "import mujoco; mujoco.GLContext(8, 8).make_current()"
    try:
        return not subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "MUJOCO_GL": name, "PYOPENGL_PLATFORM": name},
            capture_output=True,
            timeout=PROBE_SECONDS,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        return False


class Renderer:
    """Draws states of `model`, as its first camera sees them (its own default view where it has none).

    Raises SettingError where nothing can be drawn here, see `backend`.
    """

    def __init__(self, model: mujoco.MjModel):
        name = backend()
        os.environ["PYOPENGL_PLATFORM"] = name
        self._context = importlib.import_module(f"mujoco.{name}").GLContext(WIDTH, HEIGHT)
        self._context.make_current()
        self._model = copy.copy(model)
        self._model.vis.quality.offsamples = 0  # Smooth edges and shadows take most of the time without a GPU.
        planes = self._model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE
        self._model.geom_size[planes, :2] *= FARTHER  # floors are drawn as far as anything runs, their squares as large
        materials = self._model.geom_matid[planes]
        self._model.mat_texrepeat[materials[materials >= 0]] *= FARTHER  # -1: a floor of one colour
        self._data = mujoco.MjData(self._model)
        self._scene, self._options = mujoco.MjvScene(self._model, maxgeom=1000), mujoco.MjvOption()
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._scene.flags[flag] = False
        self._camera = mujoco.MjvCamera()
        mujoco.mjv_defaultFreeCamera(model, self._camera)
        self._camera.distance *= MARGIN
        if model.ncam:
            self._camera.type, self._camera.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, 0
        self._gl = mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._gl)
        self._view = mujoco.MjrRect(0, 0, WIDTH, HEIGHT)

    def frame(self, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
        """The picture of a state: (HEIGHT, WIDTH, 3), uint8."""
        self._context.make_current()
        self._data.qpos[:], self._data.qvel[:] = qpos, qvel
        mujoco.mj_forward(self._model, self._data)
        every = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(self._model, self._data, self._options, None, self._camera, every, self._scene)
        mujoco.mjr_render(self._view, self._scene, self._gl)
        pixels = np.empty((HEIGHT, WIDTH, 3), np.uint8)
        mujoco.mjr_readPixels(pixels, None, self._view, self._gl)
        return pixels[::-1]  # OpenGL counts rows from below

    def close(self) -> None:
        """Gives the graphics memory back; nothing can be drawn after."""
        self._context.make_current()
        self._gl.free()
        self._context.free()


class VideoWriter:
    """An MP4 file (H.264) of pictures `dt` seconds apart, in real time; of faster ones every second or third is kept.

    Raises SettingError where PyAV is not installed, the name does not end in .mp4, or no such file can be opened.
    """

    def __init__(self, file: Path, dt: float):
        check_video(file)
        import av

        self._every = max(1, math.floor(1 / (dt * FRAMES_PER_SECOND)))
        self._count, self._frame = 0, av.VideoFrame.from_ndarray
        self._container = av.open(str(file), "w")
        rate = Fraction(1 / (dt * self._every)).limit_denominator(1000)
        self._stream: Any = self._container.add_stream("libx264", rate=rate)
        self._stream.width, self._stream.height, self._stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"

    def add(self, draw: Callable[[], np.ndarray]) -> None:
        """The next picture, (height, width, 3) uint8, of the first one's size; `draw` is called if it is kept."""
        if self._count % self._every == 0:
            picture = draw()
            if self._count == 0:  # an encoder wants even numbers of pixels
                self._stream.height, self._stream.width = (size - size % 2 for size in picture.shape[:2])
            self._container.mux(self._stream.encode(self._frame(np.ascontiguousarray(picture), format="rgb24")))
        self._count += 1

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        if kind is None:
            self._container.mux(self._stream.encode())
        self._container.close()


def check_video(file: Path) -> None:
    """Raises SettingError where no video can be written to `file`."""
    check_file("video", file, (".mp4",))
    if importlib.util.find_spec("av") is None:
        raise SettingError(f"video={file}: needs PyAV to encode. Install it with `pip install diffmaac[video]`.")
    existed = file.exists()
    try:
        file.open("ab").close()
    except OSError as error:
        raise SettingError(f"video={file}: cannot be written: {error.strerror}. Give another video=.") from error
    if not existed:
        file.unlink()
