"""The harnesses, one file for each component or kind of component."""

from tests.formal.harness import Harness
from tests.formal.harnesses.compactor import (
    CompactorHarness,
    NeighboursHarness,
    WideCompactorHarness,
)
from tests.formal.harnesses.ifm_buffer import IfmBufferHarness
from tests.formal.harnesses.memory_interconnect import (
    ReadInterconnectHarness,
    RoundRobinHarness,
    WriteInterconnectHarness,
)
from tests.formal.harnesses.ofm_banks import OfmBanksHarness
from tests.formal.harnesses.ofm_drain import (
    HaloRowsHarness,
    OfmDrainHarness,
    WindowWalkHarness,
)
from tests.formal.harnesses.pattern_scheduler import PatternSchedulerHarness
from tests.formal.harnesses.port_upsizer import ReadUpsizerHarness, WriteUpsizerHarness
from tests.formal.harnesses.predictor import (
    LookaheadHarness,
    RegionWalkHarness,
    SurvivorOrderHarness,
    SurvivorsHarness,
    WideLookaheadHarness,
    WideRegionWalkHarness,
    WideSurvivorsHarness,
)
from tests.formal.harnesses.queue import QueueHarness
from tests.formal.harnesses.read_port import ReadArbitrationHarness, ReadPortHarness
from tests.formal.harnesses.record_loader import RecordLoaderHarness
from tests.formal.harnesses.register_block import RegisterBlockHarness
from tests.formal.harnesses.register_decoder import RegisterDecoderHarness
from tests.formal.harnesses.splitter import SplitterHarness
from tests.formal.harnesses.task_choice import ChannelOrderHarness, TaskChoiceHarness
from tests.formal.harnesses.width_converter import DownsizerHarness, UpsizerHarness
from tests.formal.harnesses.window_check import WindowCheckHarness
from tests.formal.harnesses.write_port import WritePortHarness

__all__ = ["HARNESSES"]

HARNESSES: list[type[Harness]] = [
    WindowCheckHarness,
    SplitterHarness,
    ReadPortHarness,
    ReadArbitrationHarness,
    WritePortHarness,
    QueueHarness,
    RegisterBlockHarness,
    RecordLoaderHarness,
    IfmBufferHarness,
    OfmBanksHarness,
    WindowWalkHarness,
    OfmDrainHarness,
    HaloRowsHarness,
    RegionWalkHarness,
    WideRegionWalkHarness,
    LookaheadHarness,
    WideLookaheadHarness,
    SurvivorsHarness,
    WideSurvivorsHarness,
    SurvivorOrderHarness,
    PatternSchedulerHarness,
    CompactorHarness,
    WideCompactorHarness,
    NeighboursHarness,
    TaskChoiceHarness,
    ChannelOrderHarness,
    UpsizerHarness,
    DownsizerHarness,
    RoundRobinHarness,
    ReadInterconnectHarness,
    WriteInterconnectHarness,
    RegisterDecoderHarness,
    ReadUpsizerHarness,
    WriteUpsizerHarness,
]
"""All of them, in the order of the table."""
