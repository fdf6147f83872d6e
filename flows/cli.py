"""The `graft` command. Slow imports wait until a command needs them: `graft status` answers within two seconds."""

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
from tasks.executor.one_run_at_a_time import IfBusy, turn

app = typer.Typer(
    name="graft",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    help="Transfer learning as a pipeline: versioned data, honest comparison, and a model that is registered only "
    "if transfer truly helped.",
    epilog="Start with [bold]graft run[/bold]; look with [bold]graft report[/bold] and [bold]graft ui[/bold].",
)
data_app = typer.Typer(no_args_is_help=True, help="Make, add and check the data under [bold]data/[/bold].")
app.add_typer(data_app, name="data")

IfBusyOption = Annotated[
    IfBusy, typer.Option("--if-busy", help="What to do while another run works in this repository.")
]
DevicesOption = Annotated[
    str,
    typer.Option(
        "--devices",
        envvar="GRAFT_DEVICES",
        help="GPUs for stages: [bold]auto[/bold] (all, or the CPU), [bold]cpu[/bold], [bold]cuda:0,1[/bold].",
    ),
]
JobsOption = Annotated[int | None, typer.Option("--jobs", "-j", min=1, help="Stages at once; default: the cores.")]

console = Console()
errors = Console(stderr=True)


@contextmanager
def project() -> Iterator[Path]:
    """The project around the current folder, its environment set."""
    with told():
        root = find_project()
        prepare_environment(root)
        yield root


@contextmanager
def told() -> Iterator[None]:
    """Problems of the user end with words, not a trace; SIGTERM does what Ctrl-C does."""
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
        errors.print("[yellow]stopped[/]: finished stages are kept, the next run goes on from there.")
        raise typer.Exit(130) from None


@app.command(
    epilog="Examples:  graft init mine   ·   graft init mine --yes --image-size 64   ·   "
    "graft init . --set prepare.on_error=skip"
)
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="It may be a git repository with files of its own.")],
    name: Annotated[str | None, typer.Option(help="Of the registered model and of MLflow's experiment.")] = None,
    weights: Annotated[
        str | None, typer.Option(help="What to start from (pretrain.weights); [bold]none[/]: random ones.")
    ] = None,
    backbone: Annotated[str | None, typer.Option(help="The network (pretrain.backbone).")] = None,
    image_size: Annotated[int | None, typer.Option(help="Pixels; images are resized to it.")] = None,
    channels: Annotated[int | None, typer.Option(help="1 grey, 3 colour.")] = None,
    flip: Annotated[
        bool | None, typer.Option("--flip/--no-flip", help="Whether a mirrored image is still one of its class.")
    ] = None,
    labels: Annotated[str | None, typer.Option(help="Label budgets: labels per class, such as 1,5,10.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Such as 0,1,2: every strategy runs once with each.")] = None,
    strategies: Annotated[str | None, typer.Option(help="Such as fine_tune,mcc; scratch always runs.")] = None,
    schedule: Annotated[str | None, typer.Option(help="When the flow runs: a cron line, or [bold]none[/].")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any other key of params.yaml.")
    ] = None,
    git: Annotated[
        bool | None, typer.Option("--git/--no-git", help="Make it a git repository, if it is in none.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Ask nothing: what no flag says is as the defaults.")
    ] = False,
) -> None:
    """Start a project for data of your own in DIR: asks a few questions on a terminal, and none elsewhere."""
    with told():
        from flows.commands.new_project import Given, start_project

        given = Given(
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
        )
        start_project(folder, given, console, ask=not yes and sys.stdin.isatty() and sys.stdout.isatty())


@app.command(epilog="Examples:  graft run   ·   graft run --jobs 4   ·   graft run --update-data")
def run(
    jobs: JobsOption = None,
    update_data: Annotated[
        bool, typer.Option("--update-data", help="Version changed data instead of refusing it.")
    ] = False,
    devices: DevicesOption = "auto",
    if_busy: IfBusyOption = "wait",
) -> None:
    """Bring everything up to date: data, stages, MLflow and the registry; then show the leaderboard."""
    with project() as root:
        from flows.commands.run import bring_up_to_date
        from flows.views.leaderboard import leaderboard

        with turn(root, if_busy):
            published = bring_up_to_date(root, console, jobs=jobs, update_data=update_data, devices=devices)
        console.print()
        console.print(leaderboard(root))
        console.print()
        console.print(str(published.recorded), str(published.registration), sep="\n", highlight=False)
        console.print(f"Report: [bold]{root / 'reports/index.html'}[/]   MLflow: [bold]graft ui[/]")


@app.command(epilog="Examples:  graft repro   ·   graft repro train --jobs 4 --keep-going   ·   graft repro --dry")
def repro(
    targets: Annotated[
        list[str] | None, typer.Argument(help="Stages, groups, dvc.yaml or .dvc files; by default all of ./dvc.yaml.")
    ] = None,
    jobs: JobsOption = None,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", "-k", help="After a failure, go on with what does not depend on it.")
    ] = False,
    dry: Annotated[bool, typer.Option("--dry", help="Say what would run, and why; run nothing.")] = False,
    devices: DevicesOption = "auto",
    if_busy: IfBusyOption = "wait",
) -> None:
    """Do what dvc repro does, in parallel: for any DVC project, with the same dvc.lock."""
    with told():
        from flows.commands.repro import reproduce
        from tasks.executor import events
        from tasks.executor.pipeline import Pipeline
        from tasks.executor.resources.gpus import find_devices

        pipeline = Pipeline(Path.cwd(), jobs=jobs, on_event=events.tell, if_busy=if_busy, devices=find_devices(devices))
        reproduce(pipeline, console, targets or [], keep_going=keep_going, dry=dry)


@app.command(epilog="Example:  graft sync")
def sync(if_busy: IfBusyOption = "wait") -> None:
    """Record in MLflow what it was not there to take, and put the candidate before the gate; nothing is trained."""
    with project() as root, turn(root, if_busy):
        from tasks.publish import publish

        published = publish(root)
        console.print(str(published.recorded), str(published.registration), sep="\n", highlight=False)
        if published.recorded.problem or published.registration.problem:
            raise typer.Exit(PASSING_FAULT)


@app.command(epilog="Examples:  graft schedule   ·   graft schedule --port 4300   ·   graft schedule --deploy")
def schedule(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of Prefect's page; the next free one is taken.")] = 4200,
    deploy: Annotated[
        bool, typer.Option("--deploy", help="Put them into their work pools at PREFECT_API_URL instead.")
    ] = False,
) -> None:
    """Run the flow by itself as prefect.yaml says: serve it on this machine, with Prefect's page on loopback."""
    with project() as root:
        from flows.commands import schedule as scheduling

        if deploy:
            scheduling.deploy(root, console)
        else:
            scheduling.serve(root, console, port=port)


@app.command(epilog="Examples:  graft watch   ·   graft watch --every 300 --settle 60")
def watch(
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 60,
    settle: Annotated[float, typer.Option(min=0, help="Seconds for which nothing may have changed.")] = 30,
) -> None:
    """Run whenever the data changes: version it if the check finds no problem, and do only what it makes necessary."""
    with project() as root:
        from tasks.data_versions.watch import watch as keep_watch

        keep_watch(root, lambda text: console.print(f"{time.strftime('%X')} {text}"), every=every, settle=settle)


@app.command(epilog="Example:  graft status")
def status() -> None:
    """Say what a run would do, and why; nothing is run."""
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
    """Say what transfer will bring before it is paid for: the domain gap, and which source suits the target."""
    with project() as root:
        from flows.commands.forecast import show_forecast

        show_forecast(root, console, models or [])


@app.command(epilog="Examples:  graft report   ·   graft report --no-open")
def report(
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = True,
) -> None:
    """Print the leaderboard and open the report of the last run."""
    with project() as root:
        from flows.views.leaderboard import leaderboard

        page = root / "reports/index.html"
        if not page.exists():
            raise GraftError("there is no report yet", "Make one: graft run")
        console.print(leaderboard(root))
        console.print(f"Report: [bold]{page}[/]")
        if show and sys.stdout.isatty():
            webbrowser.open(page.as_uri())


@app.command(epilog="Example:  graft cost")
def cost() -> None:
    """Measure what the networks cost in use: parameters, operations, latency on this machine."""
    with project() as root:
        from flows.views.cost import show_cost

        show_cost(root, console)


@app.command(epilog="Examples:  graft ui   ·   graft ui --port 5055 --no-open")
def ui(
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Default: the one in mlflow.yaml.")] = None,
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = True,
) -> None:
    """Serve MLflow on loopback, opened on the runs compared by strategy; Ctrl-C ends it."""
    with project() as root:
        from tasks.tracking.page import serve

        serve(root, port=port, open_page=show and sys.stdout.isatty())


@app.command(epilog="Examples:  graft strategies   ·   graft strategies fine_tune")
def strategies(
    name: Annotated[str | None, typer.Argument(help="Explain this one, with its knobs.")] = None,
) -> None:
    """List the transfer strategies, or explain one."""
    with project() as root:
        from flows.views.strategies import explain, overview
        from graft.strategies import look_in
        from tasks.stage.code import OWN_STRATEGIES

        look_in(root / OWN_STRATEGIES)
        console.print(explain(name) if name else overview())


@data_app.command("demo", epilog="Example:  graft data demo")
def data_demo() -> None:
    """Make the demo data: digits rendered from fonts (source) and real handwritten ones (target)."""
    with project() as root:
        from flows.commands.run import in_words
        from tasks.data_versions.version import version_demo

        with console.status("making the demo data") as shown:
            made = version_demo(root, shown.update)
        console.print(in_words(made), highlight=False)


@data_app.command(
    "add",
    epilog="Examples:  graft data add source ~/photos   ·   graft data add target list/   ·   "
    "graft data add source torchvision:USPS",
)
def data_add(
    role: Annotated[Literal["source", "target"], typer.Argument(help="Which of the two it is.")],
    path: Annotated[str, typer.Argument(help="A folder or file, or [bold]torchvision:NAME[/].")],
    downloads: Annotated[
        Path | None,
        typer.Option(help="Where torchvision's own files are, or go; default: .graft/torchvision.", file_okay=False),
    ] = None,
    if_busy: IfBusyOption = "wait",
) -> None:
    """Copy data into the project, check it, version it with DVC, and print its card; bad data changes nothing."""
    with project() as root, turn(root, if_busy):
        from flows.views.data_card import show
        from tasks.data_versions.add import add

        with console.status("looking") as shown:
            card = add(root, role, path, downloads=downloads, on_line=shown.update)
        console.print(f"Added: {path} is copied to data/, and versioned in data.dvc.", highlight=False)
        show(root, card, console)


@data_app.command("card", epilog="Example:  graft data card")
def data_card() -> None:
    """Print the card of the data: counts, balance, sizes, duplicates, images, and what a run will make of it."""
    with project() as root:
        from flows.views.data_card import show
        from tasks.data_versions.add import card_of

        with console.status("looking at every image"):
            card = card_of(root)
        show(root, card, console)


@data_app.command("check", epilog="Example:  graft data check")
def data_check() -> None:
    """Check the data and the label budget; report all problems at once."""
    with project() as root:
        from flows.commands.run import show_faults

        show_faults(root, console)


if __name__ == "__main__":
    app()
