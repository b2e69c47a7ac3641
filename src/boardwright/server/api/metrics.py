"""GET /metrics: what this server counts, for Prometheus (text format 0.0.4). Every server answers for itself."""

from collections.abc import Callable, Iterable

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector as MetricSource

TEXT = "text/plain; version=0.0.4; charset=utf-8"


class Counted:
    """One number or one number per label, read when it is asked for."""

    def __init__(
        self,
        name: str,
        help: str,
        read: Callable[[], float | dict[str, float]],
        *,
        label: str = "",
        grows: bool = False,
    ) -> None:
        self._name = f"boardwright_{name}"
        self._help = help
        self._read = read
        self._label = label
        self._grows = grows

    def metric(self) -> Metric:
        labels = [self._label] if self._label else []
        kind = CounterMetricFamily if self._grows else GaugeMetricFamily
        family = kind(self._name, self._help, labels=labels)
        value = self._read()
        for label, number in value.items() if isinstance(value, dict) else [("", value)]:
            family.add_metric([label] if self._label else [], number)
        return family


class _Source(MetricSource):
    def __init__(self, counted: Iterable[Counted]) -> None:
        self._counted = tuple(counted)

    def collect(self) -> Iterable[Metric]:
        return [one.metric() for one in self._counted]


def routes(counted: Iterable[Counted]) -> list[HTTPRouteHandler]:
    registry = CollectorRegistry()
    registry.register(_Source(counted))

    @get("/metrics", media_type=TEXT, sync_to_thread=True, include_in_schema=False)
    def metrics() -> Response[bytes]:
        return Response(generate_latest(registry), media_type=TEXT)

    return [metrics]
