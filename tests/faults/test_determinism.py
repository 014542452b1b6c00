"""The same command gives the same bits, whatever Python's hashes and whatever is shown meanwhile."""

import subprocess

from tests.faults.runs import bits_alike, command, environment, make_data, words

CASE = "dropout"


def test_two_processes_with_other_hashes_and_a_progress_bar(tmp_path):
    make_data(tmp_path)
    pipe = subprocess.PIPE
    plain = [*words(CASE, "plain"), "--quiet"]
    begun = [
        subprocess.Popen(command(*arguments), cwd=tmp_path, env=env, stdout=pipe, stderr=pipe, text=True)
        for arguments, env in (
            (plain, environment(PYTHONHASHSEED="0")),
            # rich takes this for a terminal: the bar has a thread of its own and looks at figures while they change.
            (words(CASE, "bar"), environment(PYTHONHASHSEED="1", FORCE_COLOR="1", TERM="xterm")),
        )
    ]
    (quiet, no_error), (shown, error) = (process.communicate() for process in begun)
    assert [process.returncode for process in begun] == [0, 0], no_error + error
    assert "\x1b[" not in quiet
    assert "\x1b[" in shown  # the bar, drawn and wiped
    assert "images/s" in shown
    bits_alike(tmp_path / "plain", tmp_path / "bar")
