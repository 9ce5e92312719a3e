from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import get_args

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mattebox_proto.editfile import (
    ControlSpec,
    EditFile,
    Keyframe,
    ReferenceSpec,
    RegionSpec,
    load,
    parse,
    save,
    schema,
    to_toml,
)
from mattebox_proto.editfile.spec import Method
from mattebox_proto.errors import InvalidEditFile

ROOT = Path(__file__).parents[2]
HEAD = 'source = "a.mp4"\nrange = [0, 16]\nprompt = "two dogs"\n'
REGION = '[[region]]\nname = "cat"\nprompt = "a dog"\n'
BOX = "box = [1, 2, 3, 4]\n"


def read(text: str) -> EditFile:
    return parse(tomllib.loads(text), "e.toml")


def test_what_is_not_said_has_its_default() -> None:
    edit = read(HEAD + REGION + BOX)
    assert (edit.method, edit.backbone, edit.seed, edit.source_prompt) == ("st-modulator", "pocket-sd", 0, "")
    assert edit.range == (0, 16)
    assert edit.regions[0].box == (1, 2, 3, 4)
    assert (edit.regions[0].mode, edit.regions[0].feather) == ("tight", 0)


@pytest.mark.parametrize(
    ("said", "backbone"),
    [
        ("", "pocket-sd"),
        ('method = "reatco"\n', "pocket-sd"),
        ('method = "mask-lora"\n', "pocket-wan-i2v"),
        ('method = "mask-lora"\nbackbone = "a/model"\n', "a/model"),
        ('backbone = "a/model"\nmethod = "mask-lora"\n', "a/model"),
    ],
)
def test_a_model_that_is_not_named_is_the_one_that_ships_for_the_method(said: str, backbone: str) -> None:
    edit = read(said + HEAD + REGION + BOX)
    assert edit.backbone == backbone
    assert parse(tomllib.loads(to_toml(edit)), "e.toml") == edit


def test_a_region_that_references_show_needs_no_words() -> None:
    edit = read('method = "mask-lora"\n' + HEAD + '[[region]]\nname = "cat"\n' + BOX)
    assert edit.regions[0].prompt == ""
    assert parse(tomllib.loads(to_toml(edit)), "e.toml") == edit


def test_keyframes_references_and_parameters_are_read() -> None:
    edit = read(
        HEAD
        + REGION
        + "ellipse = [{frame = 0, value = [8, 8, 2, 3]}, {frame = 15, value = [9, 9, 2, 3]}]\n"
        + '[[reference]]\nframe = 3\nimage = "r.png"\nregion = "cat"\n'
        + '[[reference]]\nframe = 5\nimage = "s.png"\nregion = "cat"\nfit = "cover"\n'
        + '[params]\nsteps = 20\nguidance = 7.5\nwarm = true\nnote = "x"\n'
    )
    assert edit.regions[0].ellipse == [
        Keyframe(frame=0, value=(8, 8, 2, 3)),
        Keyframe(frame=15, value=(9, 9, 2, 3)),
    ]
    assert edit.references == [
        ReferenceSpec(frame=3, image="r.png", region="cat"),
        ReferenceSpec(frame=5, image="s.png", region="cat", fit="cover"),
    ]
    assert [type(value) for value in edit.params.values()] == [int, float, bool, str]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('metod = "x"\n' + HEAD + REGION + BOX, "unknown key 'metod'; did you mean 'method'?"),
        ("strength = 0.5\n" + HEAD + REGION + BOX, "unknown key 'strength'; valid keys are format, source"),
        ("int = 1\n" + HEAD + REGION + BOX, "unknown key 'int'; did you mean 'inspect'"),
        ("str = 1\n" + HEAD + REGION + BOX, "unknown key 'str'; "),
        (
            HEAD + REGION + BOX + '[[control]]\nname = "x"\nparam = 1\n',
            "unknown key 'param' of control 'x'; did you mean 'params'",
        ),
        (
            HEAD + REGION + BOX + '[[control]]\nname = "x"\nparams = { int = [1] }\n',
            "int .* = .1. is not true or false, a number or a text",
        ),
        (HEAD + REGION + BOX + "floating = 1\n", "unknown key 'floating' of region 'cat'"),
        ('prompt_source = "x"\n' + HEAD + REGION + BOX, "did you mean 'source_prompt'?"),
        (
            HEAD + REGION + BOX + "fether = 3\n",
            "unknown key 'fether' of region 'cat'; did you mean 'feather'?",
        ),
        (HEAD + REGION + BOX + "qqq = 3\n", "valid keys are name, prompt, mask, box"),
        (
            'method = "x"\n' + HEAD + REGION + BOX,
            "method = 'x' is not known; it is one of st-modulator, reatco",
        ),
        (HEAD.replace("16", "0") + REGION + BOX, r"range = \[0, 0\] holds no frame"),
        (HEAD.replace("16", "1.5") + REGION + BOX, r"range = \[0, 1.5\] is not \[start, stop\]"),
        (HEAD, "has no region; add a"),
        ("source = 'a'\n" + REGION + BOX, "'prompt' is missing"),
        (
            HEAD + '[[region]]\nname = "cat"\n' + BOX,
            "e.toml has no prompt for region 'cat'; say what should be there",
        ),
        (HEAD + REGION, "region 'cat' needs exactly one of mask, box and ellipse, it has none of them"),
        (HEAD + REGION + BOX + 'mask = "m.png"\n', "it has mask and box"),
        (
            HEAD + REGION + "box = [1, 2, 3]\n",
            r"box of region 'cat' = \[1, 2, 3\] is not \[x, y, width, height\] or",
        ),
        (HEAD + REGION + "box = [1, 2, 0, 4]\n", "has the size 0 by 4; both must be above 0"),
        (HEAD + REGION + "box = [1, 2, nan, 4]\n", "is not"),
        (
            HEAD + REGION + "box = [{frame = 3, value = [1,2,3,4]}, {frame = 3, value = [1,2,3,4]}]\n",
            "they must rise",
        ),
        (HEAD + REGION + "box = []\n", "is not"),
        (HEAD + REGION + 'mask = "%s.png"\n', "has a % that is no frame number"),
        (HEAD + REGION + 'mask = "%d/%d.png"\n', "more than one frame number"),
        (HEAD + REGION.replace("a dog", " ") + BOX, "has no prompt for region 'cat'"),
        (HEAD + REGION + BOX + 'color = "red"\n', 'no colour; write it as "#rrggbb"'),
        (HEAD + REGION + BOX + 'mode = "tite"\n', "one of tight, ellipse, box or dilated"),
        (HEAD + REGION + BOX + "feather = -1\n", "feather of region 'cat' = -1 does not fit"),
        ("seed = -1\n" + HEAD + REGION + BOX, "seed = -1 does not fit"),
        ("format = 2\n" + HEAD + REGION + BOX, "format = 2 is not known; it is one of 1"),
        (HEAD + REGION + BOX + REGION + BOX, "two regions named 'cat'"),
        (
            HEAD + REGION + BOX + '[[reference]]\nframe = 16\nimage = "x"\nregion = "cat"\n',
            "frame 16, outside its range",
        ),
        (
            HEAD + REGION + BOX + '[[reference]]\nframe = 1\nimage = "x"\nregion = "dog"\n',
            "its regions are 'cat'",
        ),
        (
            HEAD + REGION + BOX + 2 * '[[reference]]\nframe = 1\nimage = "x"\nregion = "cat"\n',
            "two references of region 'cat' at frame 1; keep one of them",
        ),
        (
            HEAD + REGION + BOX + '[[reference]]\nframe = 1\nimage = "x"\nregion = "cat"\nfit = "stretch"\n',
            "fit of reference number 1 = 'stretch' is not known; it is one of cover or contain",
        ),
        (
            HEAD + REGION + BOX + "[params]\nx = [1]\n",
            "x in .params. = .1. is not true or false, a number or a text",
        ),
        (HEAD + REGION + BOX + "[params]\nx = inf\n", "x in .params. = inf"),
        (HEAD + REGION + BOX + "[params]\nstrength = [1]\n", "strength in .params. = .1. is not"),
        (HEAD + REGION + BOX + "[params]\nint = [1]\n", "int in .params. = .1. is not"),
    ],
)
def test_a_fault_is_one_sentence_that_names_the_key(text: str, said: str) -> None:
    with pytest.raises(InvalidEditFile, match=said) as caught:
        read(text)
    message = str(caught.value)
    assert message.startswith("e.toml")
    assert "\n" not in message
    assert "pydantic" not in message


def test_files_that_are_no_edit_files_are_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(InvalidEditFile, match="does not exist"):
        load(tmp_path / "none.toml")
    with pytest.raises(InvalidEditFile, match="is a folder"):
        load(tmp_path)
    path = tmp_path / "e.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidEditFile, match="no text file"):
        load(path)
    path.write_text("source = ,")
    with pytest.raises(InvalidEditFile, match=r"not valid TOML: .*line 1"):
        load(path)
    path = tmp_path / "e.json"
    path.write_text("[1]")
    with pytest.raises(InvalidEditFile, match="holds no table"):
        load(path)


def test_json_is_read_as_well(tmp_path: Path) -> None:
    path = tmp_path / "e.json"
    path.write_text(json.dumps(tomllib.loads(HEAD + REGION + BOX)))
    assert load(path) == read(HEAD + REGION + BOX)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = texts.filter(str.strip)
numbers = st.floats(-1e6, 1e6)
fours = st.tuples(numbers, numbers, st.floats(0.1, 1e6), st.floats(0.1, 1e6))
keyframes = st.lists(st.integers(0, 500), min_size=1, max_size=4, unique=True).flatmap(
    lambda frames: st.tuples(
        *(st.builds(Keyframe, frame=st.just(f), value=fours) for f in sorted(frames))
    ).map(list)
)
regions = st.builds(
    lambda name, where, **rest: RegionSpec(name=name, **{where[0]: where[1]}, **rest),
    names,
    st.one_of(
        st.tuples(st.just("box"), fours | keyframes),
        st.tuples(st.just("ellipse"), fours | keyframes),
        st.tuples(st.just("mask"), names.filter(lambda text: "%" not in text)),
    ),
    prompt=names,
    feather=st.integers(0, 100),
    order=st.integers(-5, 5),
    words=st.lists(names, max_size=2),
    mode=st.sampled_from(["tight", "ellipse", "box", "dilated"]),
)


def edit_file(**keys: object) -> EditFile:
    """Hides EditFile's own signature, whose aliases hypothesis would fill in."""
    return EditFile.model_validate(keys)


edits = st.builds(
    edit_file,
    source=names,
    prompt=names,
    source_prompt=texts,
    method=st.sampled_from(get_args(Method)),
    seed=st.integers(0, 2**63 - 1),
    range=st.none() | st.tuples(st.integers(0, 10), st.integers(11, 20)),
    regions=st.lists(regions, min_size=1, max_size=3, unique_by=lambda region: region.name),
    params=st.dictionaries(
        texts, st.booleans() | st.integers(-(2**63), 2**63 - 1) | numbers | texts, max_size=3
    ),
)


@given(edits)
def test_any_edit_file_is_read_back_as_it_was_written(edit: EditFile) -> None:
    content = tomllib.loads(to_toml(edit))
    assert parse(content) == edit
    jsonschema.validate(json.loads(json.dumps(content)), schema())


def test_saving_replaces_the_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "e.toml"
    path.write_text("old")
    edit = read(HEAD + REGION + BOX)
    save(edit, path)
    assert load(path) == edit
    assert list(tmp_path.iterdir()) == [path]


def test_a_saved_file_has_the_mode_of_the_one_it_replaces_or_of_any_new_file(tmp_path: Path) -> None:
    edit = read(HEAD + REGION + BOX)
    path, plain = tmp_path / "e.toml", tmp_path / "plain.txt"
    plain.write_text("what the umask allows")
    save(edit, path)
    assert path.stat().st_mode == plain.stat().st_mode
    path.chmod(0o640)
    save(edit, path)
    assert path.stat().st_mode & 0o777 == 0o640


def test_the_committed_schema_is_the_codes() -> None:
    committed = json.loads((ROOT / "docs" / "edit.schema.json").read_text(encoding="utf-8"))
    assert committed == schema(), "run `mattebox schema > docs/edit.schema.json`"


def test_the_schema_refuses_what_the_code_refuses() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    for wrong in ({"source": "a"}, {**tomllib.loads(HEAD + REGION + BOX), "metod": 1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema())


def test_every_example_in_the_docs_is_a_valid_edit_file_and_every_key_is_documented() -> None:
    text = (ROOT / "docs" / "edit-file.md").read_text(encoding="utf-8")
    pages = text + (ROOT / "docs" / "method-custom.md").read_text(encoding="utf-8")
    examples = [part.split("```")[0] for part in pages.split("```toml\n")[1:]]
    assert len(examples) >= 3
    for example in examples:
        parse(tomllib.loads(example), "the example")
    for model in (EditFile, RegionSpec, ReferenceSpec, ControlSpec):
        for name, field in model.model_fields.items():
            assert f"`{field.alias or name}`" in text or f"[[{field.alias}]]" in text
