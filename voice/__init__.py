"""A phone voice server. A tour in reading order; the first four files are the product, the rest is how it is done.

What a call is
    core/events.py          the two vocabularies: what happened (events), what to do (actions)
    core/conversation.py    events in, actions out: after every event, who may speak
    call.py                 one call, answer to hang-up: the inbox, the greenlets, the actions performed, the end
    readers.py, reply.py    the other greenlets: three that listen, and one for each answer of the model
    agent.py                the agent as this call needs it: rules, voice, variables filled in
    services.py             what all calls of a worker share, and what is known of one before it begins
    recovery.py             what an earlier stream of the same call has left
    farewell.py             how a call leaves: hung up, put through, with an apology

What the conversation is made of, all of it pure
    core/listening.py       the caller's side: what was said, how long to wait for it
    core/delivery.py        the agent's side: one turn from first token to last sound; each lateness with its remedy
    core/agenda.py          the actions of one event, and the deadlines
    core/rules.py           what of an agent the conversation needs to know
    core/words.py           backchannels, unfinished sentences, the same words
    core/turn.py            the agent's turn that is under way
    core/utterances.py      what the caller said, in order, however transcripts come in
    core/transcript.py      the history as both sides heard it
    core/playout.py         what was handed over, what of it was heard
    core/sentences.py       tokens in, sentences out
    core/speakable.py       sentences fit to be spoken; core/variables.py {caller} and the like
    core/endpointing.py     when the caller starts and stops speaking; core/line_noise.py, core/voicing.py
    core/audio.py           mu-law
    core/call_log.py        a call as JSON lines, and its replay
    core/story.py           what became of a call: core/turn_story.py, core/stages.py, core/verdict.py; core/notes.py
                            what is kept for it, core/story_log.py the same of a log
    core/own_tools.py       the tools that the conversation performs itself; core/keypad.py keys; core/firm.py

The peers, one file each
    wires/caller.py         Twilio's stream, over wires/stream_socket.py
    wires/transcriber.py    OpenAI, over wires/vendor_socket.py
    wires/synthesizer.py    ElevenLabs, over the same
    wires/language_model.py Grok, and wires/completion.py
    wires/clips.py          ElevenLabs' SDK: words that are the same in many calls, kept as sound
    wires/telephone.py      Twilio's REST API, signatures; wires/twiml.py what Twilio is told

What it does besides speaking, and what is kept
    tools/                  definitions.py for the model, toolbox.py runs them, webhook.py over exchange.py, tones.py
    sensitive.py            digits that only a webhook gets to see
    bookkeeping.py          log, record and checkpoint of a call while it goes on; usage.py what it used and cost
    records/                the database; its __init__.py is the list
    after_call.py           summary and fields (core/summary.py), and the webhook

The process
    web/twilio.py           Twilio's doors; web/signed.py and web/tokens.py who may come in, web/shown.py
    web/api.py              the REST API; web/health.py, web/metrics.py
    metrics/                figures for Prometheus; its __init__.py is the list. tracing.py OpenTelemetry
    registry.py             the live calls, and the text that SIGUSR2 prints
    presence.py             what each worker tells the others of its live calls (core/pulse.py how each is doing)
    monitor.py              the periodic greenlet; drain.py a worker that goes hands its calls over
    master.py               gunicorn's master: a reload changes nothing unless new workers can take over
    recall.py               calls that Twilio holds without a stream; heartbeat.py what workers know of each other
    call_log.py, logs.py    the file of a call; the log of the server, by way of log_output.py
    watchdog.py             a thread that looks whether the worker stands still; memory.py, limits.py what it may use
    names.py                what a vendor's name was last known as
    supervision.py          the worker's own greenlets, begun again when they fail
    errors.py               every error, by what can be done about it
    cli.py                  `python -m voice ...`: its options; commands/ what each command does
    sandbox/                the world outside on 127.0.0.1: stand-ins, a phone, the demo, the load test

Settings and agents are in `config/`; `server.py` puts everything together; `gunicorn.conf.py` serves it.
"""
