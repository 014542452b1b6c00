from xpcnn.training import History


def test_rows_columns_and_length():
    history = History()
    assert len(history) == 0
    assert history.column("test_acc") == []
    history.rows += [{"epoch": 1, "test_acc": 0.5}, {"epoch": 2}, {"epoch": 3, "test_acc": 0.75}]
    history.step_losses += [2.0, 1.0]
    assert len(history) == 3
    assert history.column("epoch") == [1, 2, 3]
    assert history.column("test_acc") == [0.5, 0.75]  # only the epochs that have it
    assert history[0] is history.rows[0]
    assert history[-1]["epoch"] == 3
    assert history == History([{"epoch": 1, "test_acc": 0.5}, {"epoch": 2}, {"epoch": 3, "test_acc": 0.75}], [2.0, 1.0])


def test_histories_share_nothing():
    first, second = History(), History()
    first.rows.append({"epoch": 1})
    first.step_losses.append(1.0)
    assert second == History()
