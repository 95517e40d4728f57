"""Files of numbers: what is a header, what divides the cells, what is missing, and what a message says."""

import gzip
import io
import sys

import numpy as np
import pytest

from exactrelu._table import TableError, read_table


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Write t.csv, and read it."""
    monkeypatch.chdir(tmp_path)

    def write_and_read(content, **options):
        (tmp_path / "t.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_table("t.csv", **options)

    return write_and_read


@pytest.mark.parametrize("delimiter", [",", ";", "\t", ", ", "  ", " \t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_cells(read, delimiter, newline):
    lines = ["\ufefffirst" + delimiter + "second", delimiter.join(["1", "2.5"]), "", delimiter.join(["-3e2", '"4"'])]
    table = read(newline.join(lines) + newline)
    matrix, names = table.matrix()
    np.testing.assert_array_equal(matrix, [[1.0, 2.5], [-300.0, 4.0]])
    assert names == ["first", "second"]
    assert (table.header, table.lines) == (1, [2, 4])


# Headers

NUMBERED = ["1", "2", "3"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a,b,c\n1,2,3\n", ["a", "b", "c"]),
        ("a,b,2020\n1,2,3\n", ["a", "b", "2020"]),  # words above numbers, and more of them
        ("1,2,3\n4,5,6\n", NUMBERED),
        ("1,.,3\n4,5,6\n", NUMBERED),  # a missing value is no name
        ("1,,3\n4,5,6\n", NUMBERED),
        ("1,?,x\n4,5,y\n", NUMBERED),
        ("1,x,red\n3,y,blue\n", NUMBERED),  # words all the way down: labels
        ("a,,c\n1,2,3\n", ["a", "2", "c"]),
        ("?,?,?\n1,2,3\n", NUMBERED),
    ],
)
def test_header_or_not(read, text, names):
    table = read(text)
    assert table.names == names
    assert table.header == (None if names is NUMBERED else 1)
    assert len(table.rows) == (2 if names is NUMBERED else 1)


@pytest.mark.parametrize("first", ["1,x,3", "x,2,?", "a,?,c", "a,NA,c", "x,y,3,4"])
def test_a_header_that_may_be_data_is_asked_about(read, first):
    content = first + "\n" + ",".join("5" for _ in first.split(",")) + "\n"
    with pytest.raises(TableError, match=r"t.csv, line 1 may be a header or data") as caught:
        read(content)
    assert caught.value.hint == "say --header or --no-header"
    assert read(content, header=True).names == first.split(",")
    assert len(read(content, header=False).rows) == 2


def test_a_header_of_numbers(read):
    years = "2019,2020,2021\n1,2,3\n"
    assert len(read(years).rows) == 2
    table = read(years, header=True)
    assert (table.names, table.rows) == (["2019", "2020", "2021"], [["1", "2", "3"]])
    assert table.find("2020") == table.find("2") == "2020"  # a number is a name first, then a position
    for wanted in ("4", "0", "-1", "two"):
        with pytest.raises(ValueError, match=f"t.csv has no column '{wanted}'; its columns are 2019, 2020, 2021"):
            table.find(wanted)


@pytest.mark.parametrize("name", ["", "Unnamed: 0", '""'])
def test_row_index(read, name):
    """What `DataFrame.to_csv` writes, once and twice, and R's `write.csv`."""
    table = read(f"{name},a,y\n0,5,1\n1,6,2\n")
    assert table.index == name.strip('"')
    assert table.features("y") == ["a"]
    assert table.matrix(without="y")[1] == ["a"]
    assert table.find("3") == "y"  # counted as they stand in the file
    assert read("a,y\n0,1\n").index is None
    assert read("0,5\n1,6\n").index is None


# Delimiters


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ('"a,b";c\n1;2\n', [["1", "2"]]),  # outside quotes
        ("\n  \na\tb\n1\t2\n", [["1", "2"]]),  # on the first record that is not blank
        ("\ta\ttarget\n0\t1\t2\n", [["0", "1", "2"]]),
        ("a;b\n1,5;2,5\n", [["1,5", "2,5"]]),
        ("sep=;\n1,5;2\n", [["1,5", "2"]]),
        ("sep=|\r\na|b\r\n1|2\r\n", [["1", "2"]]),
        ('"sep=\t"\na\tb\n1\t2\n', [["1", "2"]]),
        (" 5.1  3.5 0\n4.9 3.0   1 \n", [["5.1", "3.5", "0"], ["4.9", "3.0", "1"]]),
        ('18 "chevrolet malibu"\n15 "buick skylark"\n', [["18", "chevrolet malibu"], ["15", "buick skylark"]]),
        ("sepal length\n1\n2\n", [["1"], ["2"]]),  # one column, whose name holds a blank
    ],
)
def test_what_divides_the_cells(read, content, rows):
    assert read(content).rows == rows


def test_delimiter_that_cannot_be_told_is_asked_for(read):
    with pytest.raises(TableError, match="t\\.csv may be divided by ',' or by ';'") as caught:
        read("1,5;2\n2,5;3\n")
    assert caught.value.hint == "say which with --delimiter"
    assert read("1,5;2\n2,5;3\n", delimiter=";").rows == [["1,5", "2"], ["2,5", "3"]]
    assert read("1,5;2\n2,5;3\n", delimiter=",").rows == [["1", "5;2"], ["2", "5;3"]]


@pytest.mark.parametrize("name", ["tab", "\t", "\\t", "space", " ", "whitespace"])
def test_delimiters_by_name(read, name):
    assert read("1\t2\n3\t4\n", delimiter=name).rows == [["1", "2"], ["3", "4"]]


@pytest.mark.parametrize("delimiter", ["||", "", '"', "\n"])
def test_delimiters_that_are_none(read, delimiter):
    with pytest.raises(ValueError, match="a delimiter is one character, tab or space, got"):
        read("1,2\n", delimiter=delimiter)


# Where the bytes come from


def test_compressed(read, tmp_path):
    content = gzip.compress(b"a,b\n1,2\n")
    assert read(content).rows == [["1", "2"]]
    with pytest.raises(ValueError, match="t\\.csv is a damaged gzip file: "):
        read(content[:-9])


def test_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("größe,b\n1,x\n".encode()), encoding="ascii"))
    table = read_table("-")
    assert table.names == ["größe", "b"]
    with pytest.raises(ValueError, match="standard input, line 2: column 'b' is not numeric, got 'x'"):
        table.numbers("b")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "t.csv is empty"),
        (b"\n\n", "t.csv is empty"),
        (b"a,b\n", "t.csv has a header but no data"),
        (b"a,a\n1,2\n", "more than one column called 'a'"),
        (b"a,b\n1,2\n\n3\n", "t.csv, line 4: expected 2 cells as on line 1, got 1"),
        (b'a,b\n1,2\n"3\n4",5\n6\n', "t.csv, line 5: expected 2 cells as on line 1, got 1"),
        (b'a,b\n1,2\n"3\n4"\n5,6\n', "t.csv, line 3: expected 2 cells as on line 1, got 1"),  # where it begins
        ("a,größe\n1,2\n".encode("latin-1"), "t.csv, line 1: byte 0xf6 is not UTF-8: save the file as UTF-8"),
        ("a,b\n1,ü\n".encode("cp1252"), "t.csv, line 2: byte 0xfc is not UTF-8"),
        ("a,b\n1,2\n".encode("utf-16"), "t.csv is not a text file in UTF-8"),
        (b"PK\x03\x04\x00\x00\xff", "t.csv is not a text file in UTF-8"),
    ],
)
def test_illegal_files(read, content, message):
    with pytest.raises(ValueError, match=message):
        read(content)


# Cells


def test_label_values(read):
    index, labels = read("x,label\n1,0\n2,1.0\n3,1\n4,0.0\n").labels("label")
    np.testing.assert_array_equal(index, [0, 1, 1, 0])
    assert labels == ("0", "1")


@pytest.mark.parametrize("mark", ["", "?", ".", "NA", "n/a", "#N/A", "<NA>", "NaN", "null", "None"])
def test_missing_values(read, mark):
    table = read(f"x,y\n1,2\n{mark},3\n4,{mark}\n5,6\n")
    with pytest.raises(TableError) as caught:
        table.matrix()
    assert str(caught.value) == f"t.csv, line 3: column 'x' has no value (got {mark!r})"
    assert caught.value.hint == "--drop-missing leaves such rows out"
    assert table.complete(["x", "y"]).lines == [2, 5]
    assert table.complete(["y"]).lines == [2, 3, 5]
    with pytest.raises(ValueError, match=r"every row of t\.csv has a missing value"):
        read(f"x,y\n{mark},1\n").complete(["x"])


ODD = 2**53 + 1


@pytest.mark.parametrize("cell", [str(ODD), f"-{ODD}", f"+{ODD}", f"{ODD}.0", "1" + "0" * 23])
def test_integers_that_would_be_rounded(read, cell):
    table = read(f"x,y\n1,2\n3,{cell}\n")
    values, names = table.matrix()
    message = rf"t.csv, line 3: column 'y' holds the integer '{cell}', a float would be ".replace("+", r"\+")
    with pytest.raises(ValueError, match=message):
        table.check_exact(names, values)


@pytest.mark.parametrize("cell", [str(2**53), str(2**60), "0.1", "1e23", f"{ODD - 1}.0", "1.2345678901234567e+20"])
def test_numbers_that_are_taken(read, cell):
    table = read(f"x,y\n1,2\n3,{cell}\n")
    values, names = table.matrix()
    table.check_exact(names, values)
    assert values[1, 1] == float(cell)
