"""Stand-ins for the world outside: the four vendors on 127.0.0.1 and a simulated phone. No key, no account, no bill.

They speak the vendors' real wire protocols and refuse what the vendors refuse, so that the server under test cannot
tell the difference. Three uses: the tests, the demo without keys, and the load bench.

A tour in reading order:

    stand_ins.py          Sandbox: all four vendors behind one listening socket, and the environment that points at them
    delays.py, faults.py  how slow they are, and how they go wrong when a test asks for it
    chaos_proxy.py        how the network to them goes wrong, for some connections only; chaos_faults, chaos_passage
    doors.py              the HTTP side; served_socket.py the WebSocket side
    openai.py             the transcriber; openai_session, openai_config (refusals), openai_events, openai_hearing
    xai.py                the language model; then xai_checks (what is refused), xai_stream, demo_script (what it says)
    elevenlabs.py         the synthesizer's door; then elevenlabs_socket, elevenlabs_context
    twilio_rest.py        the telephone company's REST API; twilio_wire its HTTP
    voices.py, ears.py    speech from text and text from speech; coded_speech.py, speech that a test reads exactly

The phone, from the caller inwards:

    phone.py              one call as its caller lives it: dial, say, wait_until_heard, hang_up
    twilio_call.py        what Twilio does for it; call_plan (what is posted), documents and twiml (the call script),
                          webhook (signed requests), callbacks
    line.py               its Media Stream; stream_socket (the WebSocket), stream_messages, pacer (the 20 ms beat)
    mouth.py              what the caller says; playback.py what Twilio plays to the caller, marks and clear
    heard.py              the words in what was played; journal.py what happened, and waiting for it; recording, wav

Whole calls with the real server:

    serving.py            gunicorn as a process of its own, pointed at the stand-ins
    demo.py               `python -m voice demo`; then demo_caller, demo_account (what is printed), demo_record (what
                          the API tells), demo_report, demo_faults; call_tail follows the call's log as it is written
    bench.py              `python -m voice bench`, the load test; then bench_plan, bench_script, bench_server (what is
                          measured; bench_inside, our eye in it), bench_caller, bench_machine, bench_observed,
                          bench_integrity, bench_figures, bench_report, bench_ramp, bench_target (a server elsewhere)
    evals.py              `python -m voice evals`, simulated callers judge whole conversations; then eval_script,
                          eval_cast, eval_noise, eval_caller, eval_seen, eval_history, eval_judge, eval_report
"""
