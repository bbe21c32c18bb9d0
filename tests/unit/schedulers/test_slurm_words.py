"""What is written into Slurm stays one short line, and is known again."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from thermogate.schedulers.slurm import words
from thermogate.schedulers.slurm.words import Signed


@given(st.text(max_size=600))
def test_a_reason_is_one_short_printable_line_and_ours(why):
    reason = words.reason(why)
    assert len(reason) <= 250
    assert not any(unicodedata.category(char)[0] == "C" for char in reason)
    assert words.is_ours(reason)


@given(
    st.sampled_from(["node", "job"]),
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}", fullmatch=True),
    st.sampled_from(["hold", "suspend", "requeue"]),
    st.from_regex(r"[0-9]{1,10}(_[0-9]{1,10})?", fullmatch=True),
    st.text(max_size=600),
)
def test_a_comment_tells_what_was_done_to_which_job_because_of_what(kind, name, thing, spec, why):
    signed = Signed((kind, name), thing, spec)
    assert words.read_comment(words.comment(signed, why)) == signed


def test_what_others_write_is_not_ours():
    for text in ("", "new fan, anna", "thermal: hot", " thermogate: hot", "Thermogate: hot"):
        assert not words.is_ours(text)
        assert words.read_comment(text) is None
    assert words.read_comment("thermogate: node/a/b suspend 5: x") is None
    assert words.read_comment("thermogate: node/n1 reboot 5: x") is None
