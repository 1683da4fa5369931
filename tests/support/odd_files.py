"""What can go wrong with the files of a run."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

Damage = Callable[[Path, Path, random.Random], None]
"""Of a file of a run; the same run of another making; where chance comes from."""

NUMBERS = ("1" + "0" * 400, "9" * 5000, "1e400", "-1e400", "NaN", "Infinity", "-1", "0", "1.5", "9" * 20)
VALUES = (*NUMBERS, "null", "true", '"x"', "[]", "{}", "[[1]]", '{"a": 1}', '"\\ud800"', '""')
HEADER = b"step,seconds,return,return_std"
TABLES = (
    *(
        b"1e400,1,1,1",
        b"9" * 5000 + b",1,1,1",
        b"5,1,1e300,1e300",
        b"-5,-1,1,-1",
        b"1,2",
        b"5,1,1,1,7",
        b'5,1,1,"',
        b"",
    ),
    b"5,1,1,1\n5,1,1,1\n3,1,1,1",
)
CONTENTS = (
    *(b"", b"\n", b"\x00" * 100, b"\xff\xfe\x00", b"{}", b"[]", b"null", b"7", b'"x"', b'"', b"a: [", b"a: &a [*a]"),
    *(
        b"[" * 3000,
        b'{"a":' * 3000,
        b"- " * 1000,
        b"run: 7\n",
        b"- 1\n",
        b"run:\n  env: ../x\n",
        b"!!python/object:x {}",
    ),
    *(HEADER + b"\n" + row + b"\n" for row in TABLES),
    *(HEADER + b",critic_loss\n5,1,1,1," + number + b"\n" for number in (b"nan", b"1e-320", b"inf", b"1e300", b"x")),
)


def truncate(file: Path, other: Path, chance: random.Random) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: chance.randrange(len(content) or 1)])


def flip_a_bit(file: Path, other: Path, chance: random.Random) -> None:
    content = bytearray(file.read_bytes())
    if content:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    file.write_bytes(bytes(content))


def change_a_number(file: Path, other: Path, chance: random.Random) -> None:
    """One run of digits becomes another number, or something else."""
    text = file.read_text(errors="replace")
    places = [i for i, letter in enumerate(text) if letter.isdigit() and (i == 0 or not text[i - 1].isdigit())]
    if places:
        start = chance.choice(places)
        end = start
        while end < len(text) and text[end] in "0123456789.e-+":
            end += 1
        file.write_text(text[:start] + chance.choice(VALUES) + text[end:], errors="replace")


def change_an_entry(file: Path, other: Path, chance: random.Random) -> None:
    """One value somewhere in a JSON file becomes another, or is taken away."""
    try:
        tree = json.loads(file.read_text())
    except ValueError:
        return change_a_number(file, other, chance)
    node = tree
    while isinstance(node, dict | list) and node:
        key = chance.choice(list(node) if isinstance(node, dict) else range(len(node)))
        inner = node[key]
        if isinstance(inner, dict | list) and inner and chance.random() < 0.8:
            node = inner
            continue
        if chance.random() < 0.3:
            del node[key]
        else:
            node[key] = "PLACE"
        break
    file.write_text(json.dumps(tree).replace('"PLACE"', chance.choice(VALUES)))


def delete_a_line(file: Path, other: Path, chance: random.Random) -> None:
    lines = file.read_bytes().splitlines(keepends=True)
    del lines[chance.randrange(len(lines) or 1) :][:1]
    file.write_bytes(b"".join(lines))


def double_a_line(file: Path, other: Path, chance: random.Random) -> None:
    lines = file.read_bytes().splitlines(keepends=True) or [b""]
    lines.insert(chance.randrange(len(lines)), chance.choice(lines))
    file.write_bytes(b"".join(lines))


def swap(file: Path, other: Path, chance: random.Random) -> None:
    """With that of the other run; of a directory all of it."""
    remove(file, other, chance)
    if other.is_dir():
        shutil.copytree(other, file)
    elif other.exists():
        shutil.copy(other, file)


def remove(file: Path, other: Path, chance: random.Random) -> None:
    shutil.rmtree(file) if file.is_dir() else file.unlink()


def replace_by_a_directory(file: Path, other: Path, chance: random.Random) -> None:
    remove(file, other, chance)
    file.mkdir()
    if chance.random() < 0.5:
        (file / "x").write_text("x")


def replace_by_a_file(file: Path, other: Path, chance: random.Random) -> None:
    remove(file, other, chance)
    file.write_bytes(chance.choice(CONTENTS))


def link(to: str) -> Damage:
    def apply(file: Path, other: Path, chance: random.Random) -> None:
        remove(file, other, chance)
        target = {"itself": file.name, "nothing": "no/such/file", "the other's": os.fspath(other), "above": ".."}
        file.symlink_to(target.get(to, to))

    apply.__name__ = f"link to {to}"
    return apply


def pipe(file: Path, other: Path, chance: random.Random) -> None:
    """Reading it would wait for ever."""
    remove(file, other, chance)
    os.mkfifo(file)


EVERYWHERE = (
    swap,
    remove,
    replace_by_a_directory,
    replace_by_a_file,
    pipe,
    *map(link, ("itself", "nothing", "the other's", "above", "/dev/null", "/dev/zero")),
)
OF_FILES = (truncate, truncate, flip_a_bit, flip_a_bit, change_a_number, change_an_entry, change_an_entry)
READ = ("config.yaml", "metrics.csv", "evaluation.json", "manifest.json", "planning.json")
OF_LINES = (delete_a_line, double_a_line)


def damages(file: Path) -> list[Damage]:
    """What can happen to it. A pipe in place of a file that is only written waits for a reader, as pipes do."""
    content = [*OF_FILES, *(OF_LINES if file.suffix != ".safetensors" else ())] if file.is_file() else []
    return [damage for damage in (*content, *EVERYWHERE) if damage is not pipe or file.name in READ]
