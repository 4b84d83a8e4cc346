"""The features hop as a Bytewax dataflow: states in its memory, snapshots of them in its recovery store.

`python -m tests.bench.peers.bytewax_flow BROKERS RECOVERY_DIR INPUT OUTPUT`, until SIGTERM. It takes in what the input
holds at its start: only a dataflow whose input has an end makes a last snapshot when it is done.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

from services.features.pipeline import LogRecord, vector_headers
from shared.contracts.events import encode
from shared.feature_definitions import CustomerState
from tests.bench.peers.vectors import CHECKPOINT_S, PRODUCER, vector_of


class Customer(op.StatefulBatchLogic[Any, Any, bytes]):  # type: ignore[misc]
    """One customer's state. Bytewax asks for snapshots of those that were touched since the last ones."""

    def __init__(self, snapshot: bytes | None) -> None:
        self._state = CustomerState.decode(snapshot)

    def on_batch(self, values: list[Any]) -> tuple[Iterable[Any], bool]:
        return [made for message in values if (made := self._made(message)) is not None], False

    def snapshot(self) -> bytes:
        return self._state.encode()

    def _made(self, message: Any) -> Any | None:
        record = LogRecord(
            message.topic,
            message.partition,
            message.offset,
            message.timestamp[1],
            message.key,
            message.value,
            message.headers,
        )
        vector = vector_of(record, self._state)
        if vector is None:
            return None
        return KafkaSinkMessage(message.key, encode(vector), headers=vector_headers(vector, record, None))


def flow_of(brokers: str, source: str, target: str) -> Dataflow:
    flow = Dataflow("features")
    purchases = op.input("purchases", flow, KafkaSource([brokers], [source], tail=False))
    keyed = op.map("by-customer", purchases, lambda message: (message.key.decode(), message))
    vectors = op.key_rm("vectors", op.stateful_batch("features", keyed, Customer))
    op.output("out", vectors, KafkaSink([brokers], target, add_config=dict(PRODUCER)))
    return flow


def main() -> None:
    brokers, folder, source, target = sys.argv[1:]
    recovery = Path(folder)
    if not recovery.exists():
        recovery.mkdir()
        init_db_dir(recovery, 1)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # until the last snapshot is made
    interval = timedelta(seconds=CHECKPOINT_S)
    cli_main(
        flow_of(brokers, source, target),
        epoch_interval=interval,
        recovery_config=RecoveryConfig(recovery, backup_interval=timedelta(0)),
    )
    signal.sigwait({signal.SIGTERM})


if __name__ == "__main__":
    main()
