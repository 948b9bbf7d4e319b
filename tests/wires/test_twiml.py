"""TwiML to the letter."""

from xml.etree import ElementTree

import pytest

from voice.wires import twiml

XML = '<?xml version="1.0" encoding="UTF-8"?>'


def test_the_stream_document() -> None:
    assert twiml.stream("https://voice.example.com", {"token": 'a"<b>&', "agent": "clinic"}, "1-0-ab") == (
        f"{XML}<Response><Connect>"
        '<Stream name="1-0-ab" statusCallback="https://voice.example.com/twilio/stream-status"'
        ' url="wss://voice.example.com/twilio/stream">'
        '<Parameter name="token" value="a&quot;&lt;b&gt;&amp;" /><Parameter name="agent" value="clinic" />'
        "</Stream></Connect>"
        '<Redirect method="POST">https://voice.example.com/twilio/resume?stream=1-0-ab</Redirect></Response>'
    )


def test_the_stream_address_has_no_query_and_no_other_scheme_than_wss() -> None:
    document = ElementTree.fromstring(twiml.stream("https://https://.example", {}, "0-0-ab"))
    (stream,) = document.iter("Stream")
    assert stream.get("url") == "wss://https://.example/twilio/stream"


@pytest.mark.threat(6)
def test_dialing_a_human() -> None:
    assert twiml.dial("+15551", 20, "https://v.example/twilio/transfer") == (
        f'{XML}<Response><Dial action="https://v.example/twilio/transfer" answerOnBridge="true" method="POST"'
        ' timeLimit="14400" timeout="20"><Number>+15551</Number></Dial></Response>'
    )


def test_dialing_a_human_who_is_told_first_while_the_caller_hears_an_apology() -> None:
    document = twiml.dial("+15551", 20, "https://v.example/t", "https://v.example/w?call=CA1&x", "We're <sorry>.")
    assert document.startswith(f"{XML}<Response><Say>We're &lt;sorry&gt;.</Say><Dial ")
    assert '<Number method="POST" url="https://v.example/w?call=CA1&amp;x">+15551</Number>' in document


def test_somebody_else_is_asked_later() -> None:
    assert twiml.again(2, "https://v.example/twilio/voice?outbound=1") == (
        f'{XML}<Response><Pause length="2" /><Redirect method="POST">https://v.example/twilio/voice?outbound=1</Redirect>'
        "</Response>"
    )


def test_apology_hang_up_and_words() -> None:
    assert twiml.apology("We're busy.") == f"{XML}<Response><Say>We're busy.</Say><Hangup /></Response>"
    assert twiml.hang_up() == f"{XML}<Response><Hangup /></Response>"
    assert twiml.say("") == f"{XML}<Response />"
    assert twiml.say("Wants <Ann>.") == f"{XML}<Response><Say>Wants &lt;Ann&gt;.</Say></Response>"
