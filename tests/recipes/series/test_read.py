"""Files of separated values as people hand them in: the right numbers in their places, or a sentence with the line."""

import math

import numpy as np
import pytest

from lstmcore.recipes.series import read

HOURS = [f"2024-01-01 {hour:02}:00" for hour in range(24)]
NAN = math.nan


def rows(times, first=0):
    """A file of times and the numbers from `first` on."""
    return "time,MW\n" + "".join(f"{time},{first + k}\n" for k, time in enumerate(times))


def understood(tmp_path, content, **how):
    """(values, the one line that is told, behind the file's name)."""
    path = tmp_path / "load.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    told = []
    values = read(path, how.pop("column", None), told.append, **how)
    assert len(told) == 1
    assert "\n" not in told[0]
    return values, told[0].removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("content", "how", "values", "words"),
    [
        # decimal signs and thousands
        ("MW\n98.5\n1e2\n", {}, [98.5, 100], "decimal sign '.'"),
        ("MW\n100,9417\n98,5\n", {"decimal": ","}, [100.9417, 98.5], "decimal sign ','"),
        ("MW\n100,9417\n98\n", {"decimal": "comma"}, [100.9417, 98], "decimal sign ','"),
        ('MW\n"98,5584"\n"99,1"\n', {}, [98.5584, 99.1], "decimal sign ','"),
        ("a;MW\n1,5;98,55\n2,5;99,1\n", {"column": "MW"}, [98.55, 99.1], "separator ';', decimal sign ','"),
        ('MW\n"9,855.84"\n98.5\n', {}, [9855.84, 98.5], "decimal sign '.', thousands separated by ','"),
        ("MW\n9,855.84\n98.5\n", {"delimiter": ";"}, [9855.84, 98.5], "thousands separated by ','"),
        ('MW\n"9.855,84"\n"98,5"\n', {}, [9855.84, 98.5], "decimal sign ',', thousands separated by '.'"),
        ("a;MW\n1;9.855\n2;8.123\n", {"column": "MW", "decimal": "."}, [9.855, 8.123], "decimal sign '.'"),
        ("a;MW\n1;9.855\n2;8.123,5\n", {"column": "MW", "decimal": ","}, [9855, 8123.5], "separated by '.'"),
        # separators, quotes, ends of lines
        ("a\tMW\n1.5\t2\n", {"column": "MW"}, [2], "separator tab, whole numbers"),
        ("a|MW\n1,5|2,5\n", {"column": "MW"}, [2.5], "separator '|'"),
        ("a MW\n1  2\n", {"column": "MW", "delimiter": "space"}, [2], "separator space"),
        ('"a; b";MW\n"x; y";2\n', {"column": "MW"}, [2], "separator ';'"),
        ("a,MW\n1,2,\n3,4,,\n", {"column": "MW"}, [2, 4], "left out: separators at the end of rows"),
        ("a,MW,\n1,2,\n3,4,\n", {"column": "MW"}, [2, 4], "left out: separators at the end of rows"),
        ("MW\r\n1\r\n2\r\n", {}, [1, 2], "2 values"),
        ("MW\r1\r2", {}, [1, 2], "2 values"),
        # encodings
        ("\ufeffMW\n1\n2\n", {}, [1, 2], "1 byte order mark left out"),
        ("MW°\n1\n2\n".encode("utf-16"), {"column": "MW°"}, [1, 2], "in UTF-16"),
        # headers
        ("98.5\n99\n", {}, [98.5, 99], "column '1' (no header)"),
        ("NA\n99\n", {}, [NAN, 99], "column '1' (no header)"),
        ("x,98.5\ny,99\n", {"column": "2"}, [98.5, 99], "column '2' (no header)"),
        ("2023,2024\n1.5,2.5\n", {"column": "2024"}, [2.5], "column '2024'"),
        (",0\n2024-01-06,5\n2024-01-07,6\n2024-01-08,7\n", {}, [5, 6, 7], "3 values in column '0'"),
        (" MW , x\n 1 , 2\n", {"column": "MW"}, [1], "column 'MW'"),
        # missing values keep their places
        ("MW\n1\n\n\n2\n3\n", {}, [1, NAN, NAN, 2, 3], "2 missing (lines 3 to 4), masked"),
        ("MW\n\n1\n", {}, [NAN, 1], "1 missing (line 2), masked"),
        ("MW\n1\n2\n\n\n", {}, [1, 2], "none missing, left out: blank lines at the end"),
        ("a,MW\n1,2\n\n3,4\n5,\n", {"column": "MW"}, [2, NAN, 4, NAN], "2 missing (lines 3, 5), masked"),
        ("MW\n1\nNA\nn/a\n-\nnull\nNaN\n7\n", {}, [1, *[NAN] * 5, 7], "5 missing (lines 3 to 7), masked"),
        ("MW\n1\n\n\n4\n\n", {"missing": "fill"}, [1, 2, 3, 4], "2 missing (lines 3 to 4), filled by straight lines"),
        ("MW\n1\n-999\n4\n", {"na": ["-999"]}, [1, NAN, 4], "1 missing (line 3), masked"),
        ("MW\n1\nbroken\n4\n", {"na": ["broken"]}, [1, NAN, 4], "1 missing (line 3), masked"),
        ("MW\n1\n-999\n4\n", {"na": ["none"]}, [1, -999, 4], "none missing"),
        ("MW\n500\n999\n1400\n", {}, [500, 999, 1400], "none missing"),
        # times
        (rows(HOURS), {}, range(24), "a row per 1 h in 'time', none missing"),
        (rows(HOURS[:3] + HOURS[5:8]), {}, [0, 1, 2, NAN, NAN, 3, 4, 5], "the data rows 3 and 4 (lines 4 and 5, 3 h)"),
        (rows(HOURS[:3] + [""] + HOURS[4:6]), {}, [0, 1, 2, 3, 4, 5], "a row per 1 h in 'time', none missing"),
        ("time,MW\n2024-01-01,1\n\n2024-01-03,3\n2024-01-04,4\n", {}, [1, NAN, 3, 4], "1 missing (line 3)"),
        (rows([f"2024-{m:02}-01" for m in (1, 2, 3, 5)]), {}, [0, 1, 2, NAN, 3], "a row per 1 month in 'time'"),
        (rows([f"2024-01-{d:02}" for d in (3, 4, 5, 8, 9)]), {}, range(5), "a row per 1 working day in 'time', none"),
        (rows(["30.12.2023", "31.12.2023", "01.01.2024"]), {}, range(3), "a row per 1 d in 'time'"),
        (rows([f"2024-03-31T0{h}:00+0{z}:00" for h, z in ((0, 1), (1, 1), (3, 2))]), {}, range(3), "a row per 1 h"),
        (rows([0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12]), {"column": "MW"}, [0, 1, 2, 3, NAN, *range(4, 12)], "GAPS"),
        (rows(["2024-01-01"] * 3 + ["2024-01-02"] * 3), {}, range(6), "3 rows per 1 d in 'time'"),
        (rows(HOURS[2::-1]), {"time": "none"}, range(3), "no times"),
        (rows([1704067200 + s for s in (0, 60, 120)]), {"column": "MW"}, range(3), "a row per 60 in 'time'"),
        ("hour,MW\n" + "".join(f"{k % 24},{k}\n" for k in range(72)), {"column": "MW"}, range(72), "no times"),
        ("id,day,MW\n1,2024-01-01,5\n2,2024-01-02,6\n3,2024-01-04,7\n", {"column": "MW"}, [5, 6, NAN, 7], "in 'day'"),
        (rows(["monday", "tuesday"]), {"column": "MW"}, [0, 1], "the times in 'time' not understood"),
    ],
)  # fmt: skip
def test_what_is_understood(tmp_path, content, how, values, words):
    found, told = understood(tmp_path, content, **how)
    np.testing.assert_array_equal(found, np.array(values, float))
    assert words in told


@pytest.mark.parametrize(
    ("content", "how", "complaint"),
    [
        ("MW\n98,5584\n99,5\n", {}, "line 3 has 2 (2 of 2 rows); if ',' is the decimal sign: --decimal ','"),
        ("MW\n9,855.84\n1,234.5\n", {}, "every row should have 1 field, as the header has; line 2 has 2"),
        ("98,5584\n99,5\n", {}, "(there is no header: they are numbered); say which one with --column; if ',' is the"),
        ('MW\n"9,855"\n"8,123"\n', {}, "'9,855' in line 2 may have a decimal sign or separated thousands (2 of 2"),
        ("a;MW\n1;9.855\n2;8.123\n", {"column": "MW"}, "can be read in two ways: '9.855' in line 2"),
        ('MW\n"1,234"\n98.5\n', {}, "can be read in two ways: '1,234' in line 2"),
        ('MW\n98.5\n"98,5"\n', {}, "mixes styles: '98.5' in line 2 and '98,5' in line 3 do not have one decimal sign"),
        ("a;MW\n1;98,5\n2;98.5\n", {"column": "MW", "decimal": ","}, "98.5"),
        ("MW\n1\n98_5584\n", {}, "line 3: column 'MW' should hold a finite number; got '98_5584'"),
        ("MW\n0x1F\n0x20\n", {}, "line 2: column 'MW' should hold a finite number; got '0x1F', and 1 more of 2"),
        ("MW\n12%\n", {}, "got '12%'"),
        ("MW\n€5\n", {}, "got '€5'"),
        ("MW\n１２\n", {}, "got '１２'"),
        ("MW\n1\ninf\n", {}, "line 3: column 'MW' should hold a finite number; got 'inf'"),
        ("MW\n1\n1e999\n", {}, "line 3: column 'MW' should hold a finite number; got '1e999'"),
        ("a,MW\n" + "1,2\n" * 300 + "1,2,3,4\n1,2\n", {"column": "MW"}, "line 302 has 4 (1 of 302 rows)"),
        ("a,MW\n1,2\n3\n", {"column": "MW"}, "line 3 has 1 (1 of 2 rows)"),
        ("MW,MW\n1,2\n", {"column": "MW"}, "several columns are called 'MW', the columns 1, 2: rename all but one"),
        ("MW,MW\n1,2\n", {}, "several columns are called 'MW'"),
        ("MW,x\n1,2\n", {"column": "mw"}, "has no column 'mw' (did you mean 'MW'?); it has MW, x"),
        ("1,2\n3,4\n", {"column": "MW"}, "has no column 'MW'; it has 1, 2 by number, for it has no header"),
        ('MW\n"1\n2\n', {}, "should be a CSV file"),
        ("", {}, "holds no rows"),
        ("MW\n", {}, "column 'MW' holds no value"),
        ("MW\nNA\n\nNA\n", {}, "column 'MW' holds no value"),
        ("MW\n1\n\n2\n", {"missing": "stop"}, "1 values of column 'MW' are missing (line 3); --missing mask or fill"),
        ("MW\n1\n2\n", {"missing": "guess"}, "`missing` should be one of mask, fill, stop; got 'guess'"),
        ("MW\n1\n", {"delimiter": "ab"}, "the separator should be one sign"),
        ("MW\n1\n", {"decimal": "x"}, "the decimal sign should be '.' or ','"),
        ("MW\n1.5\n-999\n2\n-999\n", {}, "holds -999 2 times (line 3, 5), far from all else (1.5 to 2): a mark"),
        ("MW\n1.5\n-9999.0\n2\n", {}, "--na -9999; if it is a value: --na none"),
        ("MW\n1.5\n1e20\n2\n", {}, "holds 1e+20 1 times (line 3)"),
        ("MW\n1\n2\n".encode("utf-16-le"), {}, "UTF-16 without a byte order mark?"),
        ("MW°\n1\n".encode("cp1252"), {}, "should be text in UTF-8; byte 2 is none"),
        (rows(HOURS[3:] + HOURS[:3]), {}, "go back 1 times, first from 2024-01-01 23:00 in line 22 to"),
        (rows(HOURS[:4] + HOURS[3:]), {}, "1 rows have the time in 'time' of the row before, first 2024-01-01 03:00"),
        (rows(["1970-01-01", "2024-01-01", "2024-01-02", "2024-01-03"]), {}, "leap by"),
        (rows([f"0{d}/01/2024" for d in (1, 2, 3)]), {}, "as 01/01/2024, may have the day or the month first"),
        (rows(["2024-01-01", "", "2024-01-02", "2024-01-03"]), {"column": "MW"}, "leave no room for it"),
        (rows(HOURS), {"time": "day"}, "has no column 'day'"),
        (rows(["monday"] * 3), {"column": "MW", "time": "time"}, "column 'time' should hold times"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path, content, how, complaint):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the text is compared)
        understood(tmp_path, content, **how)
    assert complaint in str(caught.value)
    assert str(tmp_path) in str(caught.value) or "should be one" in complaint or "decimal sign should" in complaint


def test_unequal_steps_and_coarse_times_are_told(tmp_path):
    times = [f"2024-01-01 00:00:{s:02}" for s in (0, 1, 2, 3, 5, 6, 7)]
    times[3] = "2024-01-01 00:00:03.5"
    values, told = understood(tmp_path, rows(times))
    np.testing.assert_array_equal(values, range(7))
    assert "steps of UNEQUAL length in 'time', 1 s to 1.5 s, taken row by row as if they were equal" in told
    days = ["2024-01-01"] * 24 + ["2024-01-02"] * 24 + ["2024-01-03"] * 12 + ["2024-01-06"] * 24
    values, told = understood(tmp_path, rows(days))
    np.testing.assert_array_equal(values, range(84))
    assert "24 rows per 1 d in 'time' (1 times another number)" in told
    assert "GAPS in time between the data rows 60 and 61 (lines 61 and 62, 3 d), taken row by row" in told
