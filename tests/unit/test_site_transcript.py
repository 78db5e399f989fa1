"""Terminal sessions on the site: prompts, typed lines and output are told apart."""

from __future__ import annotations

from pygments.token import Generic, Name, Number, Token

from ksmlab.lessons import session, source
from ksmlab.site.transcript import TranscriptLexer

SESSION = "vm:/sys# cd x\n$ ls\n>>> if 1:\n...     y\n...\nvm: no prompt\n> done\n"


def tokens(text: str) -> list[tuple[object, str]]:
    return [(kind, piece) for _, kind, piece in TranscriptLexer().get_tokens_unprocessed(text)]


def test_prompts_and_output_are_told_apart() -> None:
    found = tokens(SESSION)
    prompts = [piece for kind, piece in found if kind is Generic.Prompt]
    assert prompts == ["vm:/sys# ", "$ ", ">>> ", "... ", "...", "> "]
    assert [piece for kind, piece in found if kind is Generic.Output] == ["vm: no prompt\n"]


def test_typed_lines_have_the_tokens_of_their_language() -> None:
    found = tokens(SESSION)
    assert (Name.Builtin, "cd") in found
    assert (Number.Integer, "1") in [
        (kind, piece) for kind, piece in found if kind in Token.Literal.Number
    ]


def test_no_character_of_a_session_is_lost() -> None:
    pieces = list(TranscriptLexer().get_tokens_unprocessed(SESSION))
    assert "".join(piece for _, _, piece in pieces) == SESSION
    assert [offset for offset, _, piece in pieces] == [
        sum(len(piece) for _, _, piece in pieces[:number]) for number in range(len(pieces))
    ]


def test_recorded_sessions_have_a_prompt_token_for_each_typed_line() -> None:
    steps = [step for lesson in source.read_all().values() for step in lesson.steps]
    assert len(steps) > 50
    for step in steps:
        text = session.render(step.exchanges)
        prompts = [piece for kind, piece in tokens(text) if kind is Generic.Prompt]
        assert [piece.strip() for piece in prompts] == [
            each.prompt.strip() for each in step.exchanges
        ]
