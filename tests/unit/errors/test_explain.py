"""What a program says when it ends because of an error."""

from boardwright.errors import FailedError, UnreachableError, UsageError, explain


def raised(error: Exception, cause: BaseException | None) -> Exception:
    error.__cause__ = cause
    return error


def test_one_sentence_then_the_causes_then_the_hint() -> None:
    error = raised(UsageError("agent.toml is wrong", hint="mend it"), raised(ValueError("no table"), OSError("gone")))
    assert explain("boardwright-agent", error) == [
        "boardwright-agent: agent.toml is wrong",
        "  because: no table",
        "    because: gone",
        "hint: mend it",
    ]


def test_every_member_of_a_group_of_causes_has_its_line() -> None:
    group = ExceptionGroup("all", [raised(FailedError("a refused"), OSError("port 1")), FailedError("b is silent")])
    assert explain("boardwright", raised(UnreachableError("nobody answered"), group)) == [
        "boardwright: nobody answered",
        "  because: a refused",
        "    because: port 1",
        "  because: b is silent",
    ]


def test_a_cause_that_was_said_already_is_not_repeated() -> None:
    assert explain("x", raised(FailedError("the disk is full"), OSError("disk is full"))) == ["x: the disk is full"]


def test_line_breaks_and_missing_words_do_not_break_the_form() -> None:
    assert explain("x", raised(FailedError("two\nlines"), KeyError("field"))) == [
        "x: two lines",
        "  because: KeyError 'field'",
    ]
    assert explain("x", ValueError()) == ["x: ValueError"]
