# kind: blocked
import asyncio


async def reach():
    await asyncio.open_connection("127.0.0.1", {port})


def attack():
    asyncio.run(reach())
