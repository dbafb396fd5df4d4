"""Lists of images: what is read of them and what is refused."""

import json

import pytest

from diip_jax.command import UsageError
from diip_jax.launch.manifest import Row, read_manifest


def expected(path):
    return [
        Row(f"{path}, row 1", path.parent / "a.png", 3, ("--centre_kernel=false", "--method=bird")),
        Row(f"{path}, row 2", path.parent / "in" / "b.png", None, ()),
    ]


def test_csv(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("\ufeffpath,seed,method,centre_kernel\na.png,3,bird,false\nin/b.png,,,\n", encoding="utf-8")
    assert read_manifest(path) == expected(path)


def test_json_lines(tmp_path):
    path = tmp_path / "list.jsonl"
    first = {"path": "a.png", "seed": 3, "method": "bird", "centre_kernel": False}
    path.write_text(f"{json.dumps(first)}\n\n{json.dumps({'path': 'in/b.png', 'seed': None})}\n")
    assert read_manifest(path) == expected(path)


def test_parquet(tmp_path):
    import pyarrow
    from pyarrow import parquet

    path = tmp_path / "list.parquet"
    columns = {
        "path": ["a.png", "in/b.png"],
        "seed": [3, None],
        "method": ["bird", None],
        "centre_kernel": [False, None],
    }
    parquet.write_table(pyarrow.table(columns), path)
    assert read_manifest(path) == expected(path)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("list.txt", "a.png", "expected a name that ends in .csv, .jsonl or .parquet"),
        ("list.csv", "", "has no rows"),
        ("list.csv", "path,seed\n", "has no rows"),
        ("list.csv", "file\na.png", "row 1 has no path"),
        ("list.csv", "path,colour\na.png,red", "row 1 has 'colour': expected path, seed or a flag of the method"),
        ("list.csv", "path,seed\na.png,1\nb.png,-1", "row 2 has seed=-1: expected a whole number"),
        ("list.csv", "path,seed\na.png,1.5", "row 1 has seed=1.5"),
        ("list.csv", "path,blur\na.png,1\nb.png,\nin/../a.png,2", "row 1; give each image one row"),
        ("list.csv", "path\na.png,1", "row 1 has 'more cells than the header'"),
        ("list.jsonl", "[1]", "row 1 is [1]: expected an object"),
        ("list.jsonl", "{", "cannot be read"),
        ("list.jsonl", '{"path": 1}', "row 1 has no path"),
        ("list.parquet", "PAR", "is not Parquet that can be read"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, name, text, says):
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError) as error:
        read_manifest(tmp_path / name)
    assert says in str(error.value) and "\n" not in str(error.value)
