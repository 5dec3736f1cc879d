"""The blocking client, the asyncio client, and the operations they share."""
