"""The clients, blocking and for asyncio, and the operations that they share."""
