"""The cache of compiled programs: private, and never in the place of one that the user has chosen."""

import logging
import stat
from pathlib import Path

import jax
import pytest

from diffmaac.physics.cache import cache_directory, enable_compilation_cache, persistent_cache, private_directory


def test_cache_directory_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIFFMAAC_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    directory = private_directory(cache_directory())
    assert directory == tmp_path / "xdg" / "diffmaac"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    monkeypatch.setenv("DIFFMAAC_CACHE", str(tmp_path / "own"))
    assert cache_directory() == tmp_path / "own"


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_cache_directory_that_others_can_write_raises(tmp_path: Path, mode: int) -> None:
    directory = tmp_path / "shared"
    directory.mkdir()
    directory.chmod(mode)
    with pytest.raises(ValueError, match="others can put programs into it"):
        private_directory(directory)


def test_cache_directory_must_be_a_directory(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(ValueError, match="links are not followed"):
        private_directory(tmp_path / "link")


def test_cache_of_the_user_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFMAAC_CACHE", str(tmp_path / "ours"))
    before = jax.config.values["jax_compilation_cache_dir"]
    try:
        jax.config.update("jax_compilation_cache_dir", str(tmp_path / "theirs"))
        assert enable_compilation_cache() is None
        assert jax.config.values["jax_compilation_cache_dir"] == str(tmp_path / "theirs")
        jax.config.update("jax_compilation_cache_dir", None)
        assert enable_compilation_cache() == tmp_path / "ours"
        assert jax.config.values["jax_compilation_cache_dir"] == str(tmp_path / "ours")
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


def test_without_a_directory_nothing_is_kept_and_it_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A home that is a file: as where it is read-only, no folder can be made in it."""
    home = tmp_path / "home"
    home.touch()
    monkeypatch.delenv("DIFFMAAC_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(home))
    before = jax.config.values["jax_compilation_cache_dir"]
    try:
        jax.config.update("jax_compilation_cache_dir", None)
        with caplog.at_level(logging.WARNING, "diffmaac"):
            assert [enable_compilation_cache() for _ in range(2)] == [None, None]
        assert persistent_cache() is None
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    (record,) = caplog.records
    assert "are not kept" in record.getMessage() and "Set DIFFMAAC_CACHE" in record.getMessage()


def test_a_directory_that_cannot_be_written_is_an_error_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(PermissionError):
        private_directory(tmp_path / "cache")
