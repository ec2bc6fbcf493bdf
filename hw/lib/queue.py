"""Queues that fill a memory of a power of two of words exactly."""

from amaranth.lib.fifo import SyncFIFOBuffered

__all__ = ["memory_queue"]


def memory_queue(*, width: int, words: int) -> SyncFIFOBuffered:
    """A queue whose memory holds `words` words of `width` bits.

    `SyncFIFOBuffered` keeps one word of its depth in its output register, and the others in the
    memory. So its depth is one more than the memory's, which then is a power of two where `words`
    is.
    """
    return SyncFIFOBuffered(width=width, depth=words + 1)
