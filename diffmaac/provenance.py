"""What a number was made with: versions and machine. Written beside every measurement."""

import importlib.metadata
import os
import platform
from pathlib import Path


def version(package: str) -> str:
    """The version of an installed package."""
    return importlib.metadata.version(package)


def versions(*packages: str) -> str:
    """`name==version` of installed packages, separated by spaces."""
    return " ".join(f"{name}=={version(name)}" for name in packages)


def machine() -> str:
    """The processor, by name where Linux tells it, and the number of cores."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.is_file() else []
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
    return f"{name or platform.machine()}, {os.cpu_count()} cores"


def memory_bytes() -> int:
    """The memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def circumstances(*packages: str) -> dict[str, str]:
    """The columns `versions` and `machine` of a measurement; of more than diffmaac, torch and mujoco where told."""
    return {"versions": versions("diffmaac", "torch", "mujoco", *packages), "machine": machine()}
