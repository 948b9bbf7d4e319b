"""Pipecat as the load test's peer: Twilio, OpenAI's transcriber, Grok and ElevenLabs in one pipeline for each call.

All calls are in one process, on one event loop. What was chosen, and why, is in tests/bench/README.md.
"""

import os
import sys

import numpy as np
import uvicorn
from fastapi import FastAPI, WebSocket
from loguru import logger
from pipecat.audio.resamplers.base_audio_resampler import BaseAudioResampler
from pipecat.frames.frames import TranscriptionFrame, TTSSpeakFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.serializers.twilio import TwilioFrameSerializer
from pipecat.services.elevenlabs.tts import ElevenLabsTTSService
from pipecat.services.openai.stt import OpenAIRealtimeSTTService
from pipecat.services.xai.llm import GrokLLMService
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.turns.user_start import ExternalUserTurnStartStrategy
from pipecat.turns.user_stop import ExternalUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.workers.runner import WorkerRunner

app = FastAPI()
env = os.environ


class Steps(BaseAudioResampler):
    """8 to 24 kHz in C, without a filter and without delay: words coded in the samples do not survive Pipecat's own."""

    async def resample(self, audio: bytes, in_rate: int, out_rate: int) -> bytes:
        return np.repeat(np.frombuffer(audio, np.int16), out_rate // in_rate).tobytes()


class Transcriber(OpenAIRealtimeSTTService):
    def __init__(self) -> None:
        super().__init__(
            api_key=env["OPENAI_API_KEY"],
            base_url=env["OPENAI_REALTIME_URL"],
            turn_detection={"type": "server_vad", "threshold": 0.5, "silence_duration_ms": 600},
            settings=OpenAIRealtimeSTTService.Settings(model="gpt-4o-transcribe"),
        )
        self._resampler = Steps()


class Strategy(ExternalUserTurnStopStrategy):
    """The turn ends with the final transcript; Pipecat's own waits for another one that might follow."""

    async def _handle_transcription(self, frame: TranscriptionFrame) -> None:
        await super()._handle_transcription(frame)
        await self._maybe_trigger_user_turn_stopped()


class Synthesizer(ElevenLabsTTSService):
    def __init__(self) -> None:
        super().__init__(
            api_key=env["ELEVENLABS_API_KEY"],
            url=env["ELEVENLABS_BASE_URL"].replace("http", "ws", 1),
            settings=ElevenLabsTTSService.Settings(voice="benchVoice", model="eleven_flash_v2_5"),
        )

    async def _send_text(self, text: str, context_id: str) -> None:
        # The vendor asks for a space at the end: without it the last word waits for more, and comes by itself.
        await super()._send_text(f"{text} ", context_id)


@app.get("/healthz")
async def healthz() -> str:
    return "ok"


@app.websocket("/twilio/stream")
async def stream(socket: WebSocket) -> None:
    await socket.accept()
    await socket.receive_text()
    start = (await socket.receive_json())["start"]
    serializer = TwilioFrameSerializer(
        start["streamSid"], start["callSid"], params=TwilioFrameSerializer.InputParams(auto_hang_up=False)
    )
    transport = FastAPIWebsocketTransport(
        websocket=socket,
        params=FastAPIWebsocketParams(
            audio_in_enabled=True,
            audio_out_enabled=True,
            audio_out_auto_silence=False,
            audio_out_end_silence_secs=0,
            serializer=serializer,
        ),
    )
    context = LLMContext(messages=[{"role": "system", "content": env["INSTRUCTIONS"]}])
    turns = UserTurnStrategies(
        start=[ExternalUserTurnStartStrategy(enable_interruptions=True)], stop=[Strategy(timeout=5.0)]
    )
    user, assistant = LLMContextAggregatorPair(context, user_params=LLMUserAggregatorParams(user_turn_strategies=turns))
    llm = GrokLLMService(api_key=env["XAI_API_KEY"], base_url=env["XAI_BASE_URL"])
    worker = PipelineWorker(
        Pipeline([transport.input(), Transcriber(), user, llm, Synthesizer(), transport.output(), assistant]),
        params=PipelineParams(audio_in_sample_rate=8000, audio_out_sample_rate=8000),
        enable_rtvi=False,
        enable_turn_tracking=False,
        check_dangling_tasks=False,
        idle_timeout_secs=None,
    )
    runner = WorkerRunner(handle_sigint=False, check_dangling_tasks=False)
    await runner.add_workers(worker)

    @transport.event_handler("on_client_connected")
    async def connected(transport: FastAPIWebsocketTransport, client: object) -> None:
        await worker.queue_frames([TTSSpeakFrame(env["GREETING"])])

    @transport.event_handler("on_client_disconnected")
    async def disconnected(transport: FastAPIWebsocketTransport, client: object) -> None:
        await runner.cancel()

    await runner.run()


if __name__ == "__main__":
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    uvicorn.run(
        app, host="127.0.0.1", port=int(env["PORT"]), loop="uvloop", ws="websockets-sansio", log_level="warning"
    )
