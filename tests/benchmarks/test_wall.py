"""The table of mistakes in docs/questions/breaking-through-the-wall.md can be measured again."""

from benchmarks import wall


def test_every_network_of_the_table_is_trained(capsys):
    errors = wall.main(n=80, epochs=1)
    assert set(errors) == {"constant mean", "mean per residue", *wall.NETWORKS}
    assert len(set(errors.values())) == len(errors)  # no two of them are the same network
    assert all(0.1 < error < 1 for error in errors.values())
    assert len(capsys.readouterr().out.splitlines()) == len(errors)
