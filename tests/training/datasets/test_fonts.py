import shutil
from pathlib import Path

import pytest

from training.datasets.fonts import Font, bundled_fonts, draw_characters, select_fonts, system_fonts

CHARACTERS = "ABCDEFGabdefg"
BUNDLED = {path.stem: path for path in bundled_fonts()}


@pytest.fixture(scope="module")
def selected() -> list[Font]:
    return select_fonts(bundled_fonts(), CHARACTERS)


def test_matplotlib_brings_enough_fonts_of_several_families(selected: list[Font]) -> None:
    names = {font.name for font in selected}
    assert len(names) >= 8
    for family in ("DejaVuSans", "DejaVuSerif", "STIXGeneral", "cm"):
        assert any(name.startswith(family) for name in names)


@pytest.mark.parametrize("name", ["DejaVuSansDisplay", "STIXNonUni", "LastResortHE-Regular"])
def test_a_font_without_the_characters_is_left_out(selected: list[Font], name: str) -> None:
    """The first two draw a box or nothing for a missing character, the last draws one sign for all of them."""
    assert draw_characters(BUNDLED[name], CHARACTERS) is None
    assert name not in {font.name for font in selected}


@pytest.mark.parametrize("missing", "Ж한☃")
def test_one_missing_character_is_enough(missing: str) -> None:
    assert draw_characters(BUNDLED["cmr10"], CHARACTERS) is not None
    assert draw_characters(BUNDLED["cmr10"], CHARACTERS + missing) is None


def test_a_font_that_has_them_draws_other_alphabets_too() -> None:
    """So the test above is about cmr10, not about these characters."""
    assert draw_characters(BUNDLED["DejaVuSans"], "ЖЯ☃") is not None


@pytest.mark.parametrize("name", ["cmsy10", "cmex10"])
def test_a_font_that_draws_symbols_in_place_of_letters_is_left_out(selected: list[Font], name: str) -> None:
    assert draw_characters(BUNDLED[name], CHARACTERS) is not None, "it does draw something for each"
    assert name not in {font.name for font in selected}


def test_of_two_alike_the_first_is_kept(tmp_path: Path) -> None:
    names = ["DejaVuSans", "DejaVuSerif", "cmr10", "cmtt10"]
    for name in names:
        shutil.copy(BUNDLED[name], tmp_path / f"{name}-copy.ttf")
    once = [BUNDLED[name] for name in names]
    copies = sorted(tmp_path.iterdir())
    assert [font.path for font in select_fonts([*once, *copies], CHARACTERS)] == once
    assert [font.path for font in select_fonts([*copies, *once], CHARACTERS)] == copies


@pytest.mark.parametrize("content", [b"", b"not a font", None], ids=["empty", "text", "missing"])
def test_what_is_no_font_is_passed_over(tmp_path: Path, content: bytes | None) -> None:
    broken = tmp_path / "broken.ttf"
    if content is not None:
        broken.write_bytes(content)
    assert draw_characters(broken, CHARACTERS) is None
    assert select_fonts([broken], CHARACTERS) == []
    assert [font.name for font in select_fonts([broken, BUNDLED["cmr10"]], CHARACTERS)] == ["cmr10"]


def test_ink_reaches_every_side_of_its_box(selected: list[Font]) -> None:
    for font in selected:
        assert len(font.characters) == len(CHARACTERS)
        for ink in font.characters:
            for side in (ink[0], ink[-1], ink[:, 0], ink[:, -1]):
                assert side.max() >= 128


def test_system_fonts_are_files_in_a_fixed_order() -> None:
    found = system_fonts()
    assert found == sorted(found, key=lambda path: (path.name, path))
    assert all(path.is_file() for path in found)
