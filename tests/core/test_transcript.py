from voice.core.transcript import AgentSaid, CallerSaid, Transcript


def test_a_conversation_in_turns() -> None:
    transcript = Transcript()
    assert transcript.last() is None and transcript.messages() == []
    transcript.agent_said("Hello.")
    transcript.caller_said("When do you open?")
    transcript.agent_said("At nine, and", cut=True)
    assert transcript.last() == AgentSaid("At nine, and", cut=True)
    assert transcript.messages() == [
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "When do you open?"},
        {"role": "assistant", "content": "At nine, and"},
    ]


def test_words_that_got_no_answer_grow_into_one_entry() -> None:
    transcript = Transcript()
    transcript.caller_said("I would like")
    transcript.caller_said("a table for two")
    assert transcript.entries == [CallerSaid("I would like a table for two")]


def test_an_answer_of_which_nothing_was_heard_leaves_no_entry() -> None:
    transcript = Transcript()
    transcript.caller_said("I would like")
    transcript.agent_said("", cut=True)
    transcript.caller_said("a table")
    assert transcript.entries == [CallerSaid("I would like a table")]


def test_entries_of_the_agent_stay_apart() -> None:
    transcript = Transcript()
    transcript.agent_said("Hello.", cut=True)
    transcript.agent_said("Something went wrong.")
    assert transcript.entries == [AgentSaid("Hello.", True), AgentSaid("Something went wrong.")]
