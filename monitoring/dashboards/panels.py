"""What the boards are made of: rows of panels over Prometheus queries.

In a query GROUP selects the groups that the board's variable names, and RATE is the window that Grafana derives from the
step and the scrape interval.
"""
from dataclasses import dataclass, field
from itertools import count

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.models.common import (BigValueColorMode, GraphThresholdsStyleMode, LegendDisplayMode, LegendPlacement,
                                                  StackingMode, TooltipDisplayMode)
from grafana_foundation_sdk.models.dashboard import (DataSourceRef, DashboardCursorSync, Threshold, ThresholdsMode, VariableRefresh,
                                                     VariableSort)

GROUP = 'group=~"$group"'
RATE = "[$__rate_interval]"
SOURCE = DataSourceRef(type_val="prometheus", uid="${source}")
COLUMNS = 24  # of Grafana's grid
HEIGHT = 8


@dataclass
class Panel:
    """A chart. queries: expression -> legend, where {{label}} stands for a label's value."""
    title: str
    description: str
    unit: str  # Grafana's id: s, bytes, percentunit (0 to 1), short, ops, reqps
    queries: dict
    stacked: bool = False
    most: float | None = None  # upper end of the axis
    limit: float | None = None  # where it begins to be bad: a line

    def build(self):
        panel = (timeseries.Panel().title(self.title).description(self.description).unit(self.unit).min(0)
                 .datasource(SOURCE).height(HEIGHT).line_width(1).fill_opacity(25 if self.stacked else 5)
                 .legend(common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).show_legend(True)
                         .placement(LegendPlacement.BOTTOM))
                 .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI)))
        if self.limit is not None:
            panel.thresholds(steps("green", (self.limit, "red")))
            panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED))
        if self.stacked:
            panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
        if self.most is not None:
            panel.max(self.most)
        return with_queries(panel, self.queries)


@dataclass
class Figure:
    """One whole number, now. colours: that of the least values, then (from, colour) upwards."""
    title: str
    description: str
    unit: str
    queries: dict
    colours: tuple = ("text",)
    no_value: str = "none"

    def build(self):
        panel = (stat.Panel().title(self.title).description(self.description).unit(self.unit).datasource(SOURCE).decimals(0)
                 .no_value(self.no_value).height(4).color_mode(BigValueColorMode.VALUE).thresholds(steps(*self.colours)))
        return with_queries(panel, self.queries)


@dataclass
class Row:
    title: str
    panels: list = field(default_factory=list)


def steps(least, *further):
    """Thresholds; without any of ours Grafana would turn red at 80, whatever is counted."""
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(
        [Threshold(value=None, color=least), *(Threshold(value=value, color=color) for value, color in further)])


def with_queries(panel, queries):
    for number, (expression, legend) in enumerate(queries.items()):
        panel.with_target(prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(chr(ord("A") + number))
                          .datasource(SOURCE))
    return panel


def quantiles(histogram, labels="", by=""):
    """Queries for the median, the 90th and the 99th percentile of a histogram, `by` one more label."""
    selector = f"{{{labels}}}" if labels else ""
    keys = f"le, {by}" if by else "le"
    legend = f" {{{{{by}}}}}" if by else ""
    return {f"histogram_quantile({q}, sum by ({keys}) (rate({histogram}_bucket{selector}{RATE})))": f"p{round(100 * q)}{legend}"
            for q in (0.5, 0.9, 0.99)}


def board(title, description, rows):
    """A dashboard with the variables source (which Prometheus) and group (which groups)."""
    built = (dashboard.Dashboard(f"batchmax: {title}").uid(f"batchmax-{title.lower()}").description(description)
             .tags(["batchmax"]).refresh("10s").time("now-30m", "now").tooltip(DashboardCursorSync.CROSSHAIR).readonly()
             .link(dashboard.DashboardLink("batchmax").type("dashboards").tags(["batchmax"]).as_dropdown(False)
                   .keep_time(True).include_vars(True))
             .with_variable(dashboard.DatasourceVariable("source").label("Prometheus").type("prometheus"))
             .with_variable(dashboard.QueryVariable("group").label("Group").datasource(SOURCE)
                            .query("label_values(batchmax_group_up, group)").refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
                            .sort(VariableSort.ALPHABETICAL_ASC).multi(True).include_all(True).all_value(".*")))
    numbers = count(1)  # of rows and panels
    for row in rows:
        built.with_row(dashboard.Row(row.title).id(next(numbers)))
        beside = len(row.panels) if len(row.panels) <= 4 else 3  # six are two lines of three
        for panel in row.panels:
            built.with_panel(panel.build().id(next(numbers)).span(COLUMNS // beside))
    return built.build()
