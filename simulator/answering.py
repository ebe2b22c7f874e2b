"""How answers leave, on every wire: after the latency, or never."""

import asyncio
import random

from aiohttp import web

from simulator.simulation import Simulation
from simulator.state.ledger import Message


class Answering:
    """The time that the answers of one wire take, and the ones that are lost."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._jitter = random.Random(simulation.behaviour.seed)

    async def take_time(self) -> None:
        """Let the latency pass."""
        behaviour = self._simulation.behaviour
        delay_ms = behaviour.latency_ms
        if behaviour.jitter_ms:
            delay_ms += behaviour.jitter_ms * self._jitter.random()
        if delay_ms:
            await asyncio.sleep(delay_ms / 1000)

    async def deliver(self, request: web.Request, response: web.Response, message: Message | None) -> web.Response:
        """Answer a request after the latency. The answer to an accepted message may be lost, or the client be gone."""
        await self.take_time()
        if message is None:
            return response
        if message.fate.answer_lost:
            return await self._lose(request, response)
        if request.transport is not None and not request.transport.is_closing():
            self._simulation.answered(message)
        return response

    async def _lose(self, request: web.Request, unsent: web.Response) -> web.Response:
        """Cut the connection of an accepted message; the returned response reaches nobody."""
        hang_ms = self._simulation.behaviour.lost_answer_hang_ms
        if hang_ms:
            await asyncio.sleep(hang_ms / 1000)
        if request.transport is not None:
            request.transport.abort()
        unsent.force_close()
        return unsent
