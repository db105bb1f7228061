"""The daemon's configuration file: what is wrong is said by its key, with what would be right."""

from pathlib import Path

import pytest

from carrick.host.config import load_config
from carrick.model.errors import InvalidRequest


def written(directory: Path, text: str) -> Path:
    path = directory / "carrick.toml"
    path.write_text(text)
    return path


def test_dashes_and_overrides(tmp_path: Path) -> None:
    config = load_config(
        written(tmp_path, 'bridge-filter = "keep"\nname = "a"\n'), {"name": "b", "mtu": None}
    )
    assert (config.bridge_filter, config.name, config.mtu) == ("keep", "b", 0)


@pytest.mark.parametrize(
    ("text", "words", "remedy"),
    [
        ("nmae = 'a'", "unknown setting nmae", "known settings: "),
        ("shortcuts = 'on'", "shortcuts", "shortcuts is one of: auto, off"),
        ("bridge_filter = 7", "bridge_filter", "bridge_filter is one of: auto, keep, off"),
        ("mtu = 'big'", "mtu", None),
        ("= 1", "carrick.toml: ", None),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, words: str, remedy: str | None) -> None:
    with pytest.raises(InvalidRequest) as caught:
        load_config(written(tmp_path, text), {})
    assert words in caught.value.message
    assert (caught.value.remedy or "").startswith(remedy or "")
    assert remedy or not caught.value.remedy


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"nothing\.toml: No such file"):
        load_config(tmp_path / "nothing.toml", {})
