"""Stand-ins for the world outside: the four vendors on 127.0.0.1 and a simulated phone. No key, no account, no bill.

They speak the vendors' real wire protocols and refuse what the vendors refuse, so that the server under test cannot
tell the difference. Three uses: the tests, the demo without keys, and the load bench.

A tour in reading order:

    stand_ins.py          Sandbox: all four vendors behind one listening socket, and the environment that points at them
    delays.py, faults.py  how slow they are, and how they go wrong when a test asks for it
    doors.py              the HTTP side; served_socket.py the WebSocket side
    openai.py             the transcriber; openai_session, openai_config (refusals), openai_events, openai_hearing
    xai.py                the language model; then xai_checks (what is refused), xai_stream, demo_script (what it says)
    elevenlabs.py         the synthesizer's door; then elevenlabs_socket, elevenlabs_context
    twilio_rest.py        the telephone company's REST API; twilio_wire its HTTP
    phone.py              the simulated phone; then twilio_call, twiml, webhook (what Twilio does for a call), line,
                          stream_messages, playback, pacer, mouth (its Media Stream), heard, journal, wav (its traces)
    voices.py, ears.py    speech from text and text from speech; coded_speech.py, speech that a test reads exactly
"""
