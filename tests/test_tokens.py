"""The tokens of a stream: made for one call, good once and for a minute."""

import time

import pytest
from itsdangerous import TimestampSigner, URLSafeTimedSerializer

from voice.errors import CallRefused
from voice.services import Admission
from voice.web.tokens import LIFETIME_S, Tokens
from voice.wires.caller import Started

SECRET = "a secret of the worker's"
CALL_SID = "CA" + "b" * 32
ADMISSION = Admission("receptionist", "+15550001", "+15550002", "an-outbound-id", "resumed")


def started(parameters: dict[str, str], call_sid: str = CALL_SID) -> Started:
    return Started(call_sid, "MZ" + "a" * 32, parameters)


def parameters(tokens: Tokens) -> dict[str, str]:
    return tokens.parameters(CALL_SID, ADMISSION)


def made(age_s: float, content: object, secret: str = SECRET) -> dict[str, str]:
    """A token as another worker would have made it `age_s` seconds ago."""

    class Aged(TimestampSigner):
        def get_timestamp(self) -> int:
            return int(time.time() - age_s)

    return {"token": str(URLSafeTimedSerializer(secret, salt="twilio-stream", signer=Aged).dumps(content))}


CONTENT = ["a nonce", 0, CALL_SID, "receptionist", "+15550001", "+15550002", "an-outbound-id", "resumed", ""]


def test_a_token_admits_its_call() -> None:
    tokens = Tokens(SECRET)
    given = parameters(tokens)
    assert given["agent"] == "receptionist" and CALL_SID not in given["token"]
    assert tokens.admit(started(given)) == ADMISSION


@pytest.mark.threat(3)
def test_it_is_good_once() -> None:
    tokens = Tokens(SECRET)
    given = parameters(tokens)
    tokens.admit(started(given))
    with pytest.raises(CallRefused, match="spent"):
        tokens.admit(started(given))


def test_and_another_of_the_same_call_and_second_is_good_too() -> None:
    tokens = Tokens(SECRET)
    for _ in range(20):
        tokens.admit(started(parameters(tokens)))


def test_another_worker_takes_it_too() -> None:
    assert Tokens(SECRET).admit(started(parameters(Tokens(SECRET)))).agent == "receptionist"


@pytest.mark.parametrize("age_s", [0, 30, LIFETIME_S - 1])
def test_it_is_good_for_a_minute(age_s: float) -> None:
    assert Tokens(SECRET).admit(started(made(age_s, CONTENT))).caller_number == "+15550001"


@pytest.mark.threat(2, 3)
@pytest.mark.parametrize("age_s", [LIFETIME_S + 2, 86_400, -5])
def test_and_no_longer_nor_before_its_time(age_s: float) -> None:
    with pytest.raises(CallRefused, match="too old"):
        Tokens(SECRET).admit(started(made(age_s, CONTENT)))


WRONG: dict[str, dict[str, str]] = {
    "no token": {},
    "an empty one": {"token": ""},
    "any text": {"token": "token"},
    "dots": {"token": "..."},
    "no ASCII": {"token": "töken.ü.é"},
    "64 kB": {"token": "x." * 32_000},
    "of another secret": made(1, CONTENT, "another secret"),
    "a list that is too short": made(1, CONTENT[:4]),
    "no list": made(1, 5),
    "nothing": made(1, None),
}


@pytest.mark.threat(2)
@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_whatever_else_is_given_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(CallRefused, match="missing, wrong or too old"):
        Tokens(SECRET).admit(started(wrong))


@pytest.mark.threat(2)
def test_a_token_with_one_letter_changed_is_refused() -> None:
    token = parameters(Tokens(SECRET))["token"]
    for place in range(0, len(token), 7):
        changed = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        with pytest.raises(CallRefused):
            Tokens(SECRET).admit(started({"token": changed}))


@pytest.mark.threat(2, 3)
def test_a_token_opens_no_other_call_and_is_not_spent_by_the_attempt() -> None:
    tokens = Tokens(SECRET)
    given = parameters(tokens)
    with pytest.raises(CallRefused, match="another call"):
        tokens.admit(started(given, "CA" + "c" * 32))
    assert tokens.admit(started(given)).agent == "receptionist"


def test_nor_another_agent() -> None:
    tokens = Tokens(SECRET)
    given = parameters(tokens)
    with pytest.raises(CallRefused, match=r"asks for agent 'admin\\n\\u2028', its call for receptionist"):
        tokens.admit(started(given | {"agent": "admin\n\u2028"}))
    assert tokens.admit(started({"token": given["token"]})).agent == "receptionist"


def test_numbers_are_cut_to_what_a_number_can_be() -> None:
    tokens = Tokens(SECRET)
    given = tokens.parameters(CALL_SID, Admission("a", "+" + "1" * 5000, "sip:" + "x" * 5000))
    admission = tokens.admit(started(given))
    assert (len(admission.caller_number), len(admission.called_number)) == (64, 64)
