"""The `graft` command. Slow imports happen only in the commands that need them, so that `graft status` is quick."""

import sys
import time
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.text import Text

from tasks.common.environment import find_project, prepare_environment
from tasks.common.errors import PASSING_FAULT, PERMANENT_FAULT, GraftError, in_words, of_the_disk
from tasks.common.local_server import interrupted_by_sigterm
from tasks.common.places import OWN_STRATEGIES, REPORT
from tasks.executor.one_run_at_a_time import IfBusy, turn

app = typer.Typer(
    name="graft",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    help="Transfer learning as a pipeline: versioned data, honest comparison, and a model that is promoted only if "
    "transfer helped.",
    epilog="Start with [bold]graft run[/bold]; see the results with [bold]graft report[/bold] and "
    "[bold]graft ui[/bold].",
)
data_app = typer.Typer(no_args_is_help=True, help="Render, add and check the data in [bold]data/[/bold].")
app.add_typer(data_app, name="data")

IfBusyOption = Annotated[
    IfBusy, typer.Option("--if-busy", help="What to do if another run is active in this repository.")
]
DevicesOption = Annotated[
    str,
    typer.Option(
        "--devices",
        envvar="GRAFT_DEVICES",
        help="GPUs for stages: [bold]auto[/bold] (all, else the CPU), [bold]cpu[/bold], [bold]cuda:0,1[/bold].",
    ),
]
JobsOption = Annotated[
    int | None, typer.Option("--jobs", "-j", min=1, help="Stages to run in parallel; default: one per core.")
]

console = Console()
errors = Console(stderr=True)


@contextmanager
def project() -> Iterator[Path]:
    """The project that contains the current folder, with its environment set."""
    with told():
        root = find_project()
        prepare_environment(root)
        yield root


@contextmanager
def told() -> Iterator[None]:
    """Print errors that the user can fix without a traceback; handle SIGTERM like Ctrl-C."""
    try:
        with interrupted_by_sigterm():
            yield
    except GraftError as error:
        how = ("error: ", "bold red") if error.ends_with else ("skipped: ", "bold yellow")
        errors.print(Text.assemble(how, str(error)), soft_wrap=True)
        raise typer.Exit(error.ends_with) from None
    except OSError as error:
        if not of_the_disk(error):
            raise
        errors.print(Text.assemble(("error: ", "bold red"), in_words(error)), soft_wrap=True)
        raise typer.Exit(PERMANENT_FAULT) from None
    except KeyboardInterrupt:
        errors.print("[yellow]stopped[/]: finished stages are kept; the next run resumes from there.")
        raise typer.Exit(130) from None


@app.command(
    epilog="Examples:  graft init mine   ·   graft init mine --yes --image-size 64   ·   "
    "graft init . --set prepare.on_error=skip"
)
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New or existing; it may be a git repository.")],
    name: Annotated[str | None, typer.Option(help="Name of the registered model and of MLflow's experiment.")] = None,
    weights: Annotated[
        str | None, typer.Option(help="Weights to start from (pretrain.weights); [bold]none[/]: random weights.")
    ] = None,
    backbone: Annotated[str | None, typer.Option(help="The network (pretrain.backbone).")] = None,
    image_size: Annotated[int | None, typer.Option(help="Height and width of the resized images, in pixels.")] = None,
    channels: Annotated[int | None, typer.Option(help="1 grey, 3 colour.")] = None,
    flip: Annotated[
        bool | None, typer.Option("--flip/--no-flip", help="Whether a mirrored image keeps its class.")
    ] = None,
    labels: Annotated[str | None, typer.Option(help="Label budgets: labels per class, such as 1,5,10.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Seeds, such as 0,1,2: every strategy runs once per seed.")] = None,
    strategies: Annotated[
        str | None, typer.Option(help="Strategies, such as fine_tune,mcc; scratch always runs.")
    ] = None,
    schedule: Annotated[str | None, typer.Option(help="When the flow runs: a cron line, or [bold]none[/].")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any other key of params.yaml.")
    ] = None,
    git: Annotated[
        bool | None, typer.Option("--git/--no-git", help="Initialise a git repository, unless DIR is inside one.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Heads on frozen features, one seed: minutes.")] = False,
    standard: Annotated[bool, typer.Option("--standard", help="The default strategies and seeds: an hour.")] = False,
    best: Annotated[bool, typer.Option("--best", help="More strategies, five seeds and a search: a night.")] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Ask no questions; use the defaults for everything not given.")
    ] = False,
) -> None:
    """Create a project for your own data in DIR; on a terminal it asks a few questions."""
    with told():
        from flows.commands.new_project import Flags, start_project

        given = Flags(
            name,
            weights,
            backbone,
            image_size,
            channels,
            flip,
            labels,
            seeds,
            strategies,
            schedule,
            settings or [],
            git,
            tuple(name for name, is_asked in (("quick", quick), ("standard", standard), ("best", best)) if is_asked),
        )
        start_project(folder, given, console, ask=not yes and sys.stdin.isatty() and sys.stdout.isatty())


@app.command(epilog="Examples:  graft run   ·   graft run --jobs 4   ·   graft run --update-data")
def run(
    jobs: JobsOption = None,
    update_data: Annotated[
        bool, typer.Option("--update-data", help="Version new or changed data instead of refusing it.")
    ] = False,
    devices: DevicesOption = "auto",
    if_busy: IfBusyOption = "wait",
) -> None:
    """Bring everything up to date: data, stages, MLflow and the registry; then show the leaderboard."""
    with project() as root:
        from flows.commands.run import bring_up_to_date
        from flows.views.leaderboard import leaderboard_view

        with turn(root, if_busy):
            published = bring_up_to_date(root, console, jobs=jobs, update_data=update_data, devices=devices)
        console.print()
        console.print(leaderboard_view(root))
        console.print()
        console.print(str(published.recorded), str(published.registration), sep="\n", highlight=False)
        console.print(f"Report: [bold]{root / REPORT}[/]   MLflow: [bold]graft ui[/]")


@app.command(epilog="Examples:  graft repro   ·   graft repro train --jobs 4 --keep-going   ·   graft repro --dry")
def repro(
    targets: Annotated[
        list[str] | None, typer.Argument(help="Stages, groups, dvc.yaml or .dvc files; default: all of ./dvc.yaml.")
    ] = None,
    jobs: JobsOption = None,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", "-k", help="After a failure, continue with stages that do not depend on it.")
    ] = False,
    dry: Annotated[bool, typer.Option("--dry", help="Show what would run, and why; run nothing.")] = False,
    devices: DevicesOption = "auto",
    if_busy: IfBusyOption = "wait",
) -> None:
    """Do what dvc repro does, in parallel, for any DVC project; dvc.lock is the same."""
    with told():
        from flows.commands.repro import reproduce
        from tasks.executor import events
        from tasks.executor.pipeline import Pipeline
        from tasks.executor.resources.gpus import find_devices

        pipeline = Pipeline(Path.cwd(), jobs=jobs, on_event=events.tell, if_busy=if_busy, devices=find_devices(devices))
        reproduce(pipeline, console, targets or [], keep_going=keep_going, dry=dry)


@app.command(epilog="Example:  graft sync")
def sync(if_busy: IfBusyOption = "wait") -> None:
    """Record results that MLflow does not have yet, and apply the promotion gate; nothing is trained."""
    with project() as root, turn(root, if_busy):
        from tasks.publish import publish

        published = publish(root)
        console.print(str(published.recorded), str(published.registration), sep="\n", highlight=False)
        if published.recorded.problem or published.registration.problem:
            raise typer.Exit(PASSING_FAULT)


@app.command(epilog="Examples:  graft schedule   ·   graft schedule --port 4300   ·   graft schedule --deploy")
def schedule(
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of Prefect's page; if it is busy, the next free one.")
    ] = 4200,
    deploy: Annotated[
        bool, typer.Option("--deploy", help="Deploy to the work pools of the server at PREFECT_API_URL instead.")
    ] = False,
) -> None:
    """Run the flow on the schedules in prefect.yaml, on this machine, with Prefect's page on loopback."""
    with project() as root:
        from flows.commands import schedule as scheduling

        if deploy:
            scheduling.deploy(root, console)
        else:
            scheduling.serve(root, console, port=port)


@app.command(epilog="Examples:  graft watch   ·   graft watch --every 300 --settle 60")
def watch(
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two checks.")] = 60,
    settle: Annotated[float, typer.Option(min=0, help="Seconds without a change before a run starts.")] = 30,
) -> None:
    """Run whenever the data changes: version it if it passes the check, and run only the stages that it affects."""
    with project() as root:
        from tasks.data_versions.watch import watch as keep_watch

        keep_watch(root, lambda text: console.print(f"{time.strftime('%X')} {text}"), every=every, settle=settle)


@app.command(epilog="Example:  graft status")
def status() -> None:
    """Show what a run would do, and why; nothing is run."""
    with project() as root:
        from flows.commands.run import show_status

        show_status(root, console)


@app.command(epilog="Examples:  graft forecast   ·   graft forecast ../other-model")
def forecast(
    models: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders of further source models (model.safetensors, model.json) to rank.", exists=True),
    ] = None,
) -> None:
    """Forecast what transfer will bring before any trial: the domain gap, and which source suits the target."""
    with project() as root:
        from flows.commands.forecast import show_forecast

        show_forecast(root, console, models or [])


@app.command(epilog="Examples:  graft report   ·   graft report --no-open")
def report(
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = True,
) -> None:
    """Print the leaderboard and open the report of the last run."""
    with project() as root:
        from flows.views.leaderboard import leaderboard_view

        page = root / REPORT
        if not page.exists():
            raise GraftError("there is no report yet: reports/index.html not found", "Make it with `graft run`.")
        console.print(leaderboard_view(root))
        console.print(f"Report: [bold]{page}[/]")
        if show and sys.stdout.isatty():
            webbrowser.open(page.as_uri())


@app.command(epilog="Example:  graft cost")
def cost() -> None:
    """Measure the cost of using the networks: parameters, operations, latency on this machine."""
    with project() as root:
        from flows.views.cost import show_cost

        show_cost(root, console)


@app.command(epilog="Examples:  graft ui   ·   graft ui --port 5055 --no-open")
def ui(
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port; default: the one in mlflow.yaml.")] = None,
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = True,
) -> None:
    """Serve MLflow on loopback, opened on the runs compared by strategy; Ctrl-C stops it."""
    with project() as root:
        from tasks.tracking.page import serve

        serve(root, port=port, open_page=show and sys.stdout.isatty())


@app.command(epilog="Examples:  graft strategies   ·   graft strategies fine_tune")
def strategies(
    name: Annotated[str | None, typer.Argument(help="A strategy to explain, with its knobs.")] = None,
) -> None:
    """List the transfer strategies, or explain one."""
    with project() as root:
        from flows.views.strategies import explain, overview
        from graft.strategies import look_in

        look_in(root / OWN_STRATEGIES)
        console.print(explain(name) if name else overview())


@data_app.command("demo", epilog="Example:  graft data demo")
def data_demo() -> None:
    """Render the demo data: digits drawn from fonts (source), and add real handwritten ones (target)."""
    with project() as root:
        from flows.commands.run import version_in_words
        from tasks.data_versions.version import version_demo

        with console.status("rendering the demo data") as shown:
            made = version_demo(root, shown.update)
        console.print(version_in_words(made), highlight=False)


@data_app.command(
    "add",
    epilog="Examples:  graft data add source ~/photos   ·   graft data add target list/   ·   "
    "graft data add source torchvision:USPS",
)
def data_add(
    role: Annotated[Literal["source", "target"], typer.Argument(help="The domain to add.")],
    path: Annotated[str, typer.Argument(help="A folder or file, or [bold]torchvision:NAME[/].")],
    downloads: Annotated[
        Path | None,
        typer.Option(help="Folder of torchvision's downloads; default: .graft/torchvision.", file_okay=False),
    ] = None,
    if_busy: IfBusyOption = "wait",
) -> None:
    """Copy data into the project, check it, version it with DVC, and print its card; invalid data changes nothing."""
    with project() as root, turn(root, if_busy):
        from flows.views.data_card import show
        from tasks.data_versions.add import add

        with console.status("checking the project's data") as shown:
            card = add(root, role, path, downloads=downloads, on_line=shown.update)
        console.print(f"Added: {path} was copied to data/ and versioned in data.dvc.", highlight=False)
        show(root, card, console)


@data_app.command("card", epilog="Example:  graft data card")
def data_card() -> None:
    """Print the data card: counts, balance, sizes, duplicates, images, and how a run will use them."""
    with project() as root:
        from flows.views.data_card import show
        from tasks.data_versions.add import card_of

        with console.status("checking the data"):
            card = card_of(root)
        show(root, card, console)


@data_app.command("check", epilog="Example:  graft data check")
def data_check() -> None:
    """Check the data and the label budgets; report all problems at once."""
    with project() as root:
        from flows.commands.run import show_faults

        show_faults(root, console)


if __name__ == "__main__":
    app()
