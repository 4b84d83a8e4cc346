"""Stream: from the source over the topics to the features."""

from __future__ import annotations

from deploy.monitoring.dashboards.panels import Dashboard, Panel, Query, quantiles

STREAM = Dashboard(
    "flit-stream",
    "Flit Risk: stream",
    "What comes in, what waits, what is refused.",
    [
        Panel(
            "Source", "1 while a stream from the source is open.", "none",
            [Query("max(flit_ingestor_connected)", "connected")], kind="stat", limits=(1,), falling=True,
            alerts=("SourceAway", "NothingIngested", "SourceStopped"), width=6,
        ),
        Panel(
            "Source given up", "1 once too many of its lines were refused: it is no longer read.", "none",
            [Query("max(flit_ingestor_source_stopped)", "stopped")], kind="stat", limits=(1,),
            alerts=("SourceStopped",), width=6,
        ),
        Panel(
            "Refused in the last hour", "Dead letters of all services.", "none",
            [Query("sum(increase(flit_dead_letters_total[1h])) or vector(0)", "letters")], kind="stat", limits=(1, 100),
            alerts=("RecordsRefused",), width=6,
        ),
        Panel(
            "Topics halted", "Topics that are left alone, for most of what they bring would be refused.", "none",
            [Query("sum(flit_features_halted or flit_scorer_halted) or vector(0)", "halted")], kind="stat", limits=(1,),
            alerts=("TopicHalted",), width=6,
        ),
        Panel(
            "Records by topic", "What became of the records of each topic, by the service that took them.", "cps",
            [Query(
                'sum by (service, topic, result) (rate(flit_events_total{topic=~"$topic"}[$__rate_interval]))',
                "{{service}} {{topic}} {{result}}",
            )],
        ),
        Panel(
            "Records waiting", "By service and topic.", "short",
            [Query(
                'sum by (service, topic) (flit_consumer_lag_records{topic=~"$topic"})', "{{service}} {{topic}}",
            )],
            limits=(5000,), alerts=("ConsumerLag", "StreamStalled"),
        ),
        Panel(
            "Records waiting by partition", "One partition alone that waits is a hot key or a lane that stands still.",
            "short",
            [Query(
                'max by (service, topic, partition) (flit_consumer_lag_records{topic=~"$topic"})',
                "{{service}} {{topic}}-{{partition}}",
            )],
            alerts=("ConsumerLag", "SinkWaits"),
        ),
        Panel(
            "Line to topic", "From a line's arrival at the ingestor to the acknowledgement of its records.", "s",
            quantiles("flit_ingestor_line_seconds"), limits=(0.1,),
        ),
        Panel(
            "Refused by reason", "Dead letters; the reasons are in docs/reference/bad-inputs.md.", "cps",
            [Query(
                "sum by (service, reason) (rate(flit_dead_letters_total[$__rate_interval])) > 0",
                "{{service}} {{reason}}",
            )],
            stacked=True, alerts=("RecordsRefused", "TopicHalted"),
        ),
        Panel(
            "Warnings by rule", "Accepted inputs that broke a soft rule.", "cps",
            [Query(
                "sum by (service, rule) (rate(flit_input_warnings_total[$__rate_interval]))", "{{service}} {{rule}}",
            )],
            stacked=True,
        ),
        Panel(
            "Sent to another partition",
            "Records of a producer that partitions otherwise than by murmur2: each costs two.",
            "cps", [Query("sum(rate(flit_features_rerouted_total[$__rate_interval]))", "rerouted")],
        ),
        Panel(
            "Offsets in the states", "How far each partition's records are in the features' states.", "short",
            [Query('max by (topic, partition) (flit_features_position{topic=~"$topic"})', "{{topic}}-{{partition}}")],
        ),
    ],
    {"topic": "flit_events_total"},
)  # fmt: skip
