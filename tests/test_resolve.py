"""From a recipe to a plan: names, options, and parts that can or cannot work together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from parts import (
    FewOptions,
    FrozenOptions,
    ManyOptions,
    NoOptions,
    OneOptions,
    experts,
    part,
    penalty,
    plugin,
    recipe_with,
    registry_of,
    router,
    shape_with,
)

from mtlora_core.component import Component, problems_of
from mtlora_core.errors import CompositionError, MtloraError, PluginError, RecipeError
from mtlora_core.hookspecs import hookimpl
from mtlora_core.recipe import dump_recipe, load_recipe
from mtlora_core.resolve import Plan, resolve


def plan_of(*overrides: str, **changes: Any) -> Plan:
    return resolve(load_recipe(recipe_with(**changes), overrides), registry_of())


def failure(*overrides: str, plugins: dict[str, object] | None = None, **changes: Any) -> Any:
    with pytest.raises(MtloraError) as caught:
        resolve(load_recipe(recipe_with(**changes), overrides), registry_of(**plugins or {}))
    return caught.value


def test_a_recipe_becomes_a_plan_of_parts_options_shape_and_sites() -> None:
    plan = plan_of()

    assert [place for place, _ in plan.parts()] == [
        "backbone",
        "placement",
        "experts",
        "router",
        "regularizers.0",
        "regularizers.1",
        "tasks",
    ]
    assert plan.experts.component.name == "many"
    assert plan.experts.options == ManyOptions(count=3)
    assert (plan.experts.package, plan.experts.version) == ("toys", "0+unpackaged")
    assert plan.shape == shape_with(8, causal=False)
    assert [site.name for site in plan.sites] == ["layer0", "layer1"]
    assert plan.notices == ()


def test_experts_without_a_router_need_none() -> None:
    plan = plan_of(experts="one", router=None, regularizers=None)

    assert plan.router is None
    assert [place for place, _ in plan.parts()] == ["backbone", "placement", "experts", "tasks"]


def test_a_package_can_be_named() -> None:
    assert plan_of("router.use=toys/each").router == plan_of("router=each").router


def test_options_of_one_regularizer_twice_are_two_penalties() -> None:
    plan = plan_of(regularizers=["apart", {"use": "apart", "weight": 3}])

    assert [each.options.model_dump() for each in plan.regularizers] == [
        {"weight": 1.0},
        {"weight": 3.0},
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"experts": "one", "router": None, "regularizers": None},
        {"experts": {"use": "many", "limit": None}, "seed": 7, "requires": ["mtlora>=0.1"]},
        {"tasks": {"use": "data", "root": "texts", "columns": {"a": "b"}}},
        {"train": {"steps": 4, "sampling": "uniform"}},
    ],
)
def test_a_plan_is_written_out_and_resolves_to_the_same_plan(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    plan = plan_of(**changes)
    path = tmp_path / "sub" / "recipe.yaml"
    path.parent.mkdir()
    path.write_text(dump_recipe(plan.to_json()))

    again = resolve(load_recipe(path), registry_of())

    assert again == plan
    assert again.to_json() == plan.to_json()


def test_a_plan_written_out_has_every_default_and_every_package() -> None:
    written = plan_of(tasks={"use": "data", "root": "texts"}).to_json()

    assert written["experts"] == {"use": "toys/many", "count": 3, "rank": 2, "limit": 7}
    assert written["tasks"]["root"] == str(Path.cwd() / "texts")
    assert written["train"]["batch_size"] == 32


def test_a_path_is_relative_to_the_file_it_was_written_in(tmp_path: Path) -> None:
    base = recipe_with(tasks={"use": "data", "root": "texts"})
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "base.yaml").write_text(dump_recipe(base))
    (tmp_path / "r.yaml").write_text("extends: sub/base.yaml")

    plan = resolve(load_recipe(tmp_path / "r.yaml"), registry_of())

    assert plan.to_json()["tasks"]["root"] == str(tmp_path / "sub" / "texts")


def test_every_problem_is_told_at_once_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "name: toy\n"
        "backbone: {use: frozn, model: small}\n"
        "placement: {use: side, site: [a]}\n"
        "experts:\n"
        "  use: many\n"
        "  count: 0\n"
        "  rank: '2'\n"
        "router: eech\n"
        "regularizers: [apart, {use: evne}]\n"
        "tasks: {use: data, colums: {}}\n"
        "observe: [nobody]\n"
        "requires: [absent>=1]\n"
    )

    with pytest.raises(RecipeError) as caught:
        resolve(load_recipe(path), registry_of())

    assert [line.removeprefix(f"{path}:") for line in caught.value.problems] == [
        "12:12: requires.0: absent is not installed: pip install 'absent>=1'",
        "11:1: observe: no plugin 'nobody' observes runs; installed observers: none",
        "2:12: backbone.use: backbone 'frozn' is not installed; did you mean 'frozen'?",
        "8:1: router.use: router 'eech' is not installed; did you mean 'each'?",
        "9:24: regularizers.1.use: regularizer 'evne' is not installed; did you mean 'even'?",
        "3:24: placement.site: no such key; did you mean 'sites'?",
        "6:3: experts.count: should be greater than 0, not 0",
        "10:20: tasks.colums: no such key; did you mean 'columns'?",
    ]


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("experts.rank='2'", "experts.rank: should be a number, not '2'"),
        ("experts.rank=true", "experts.rank: should be a number, not True"),
        ("backbone.causal=1", "backbone.causal: should be true or false, not 1"),
        ("tasks.columns={a: 3}", "tasks.columns.a: should be a valid string, not 3"),
        ("placement.sites=a", "placement.sites: should be a valid tuple, not 'a'"),
        ("backbone.model=null", "backbone.model: is required"),
    ],
)
def test_an_option_of_the_wrong_type_says_what_was_found(override: str, reason: str) -> None:
    error = failure(override)

    assert error.problems == (f"--set {override}: {reason}",)
    assert isinstance(error, RecipeError)


def test_null_is_the_default_where_an_option_takes_no_none() -> None:
    options = plan_of("experts.count=null", "experts.limit=null").experts.options

    assert options == ManyOptions(count=4, limit=None)


def test_options_that_the_new_part_lacks_are_dropped_with_a_notice(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(dump_recipe(recipe_with(experts={"use": "many", "count": 3, "rank": 5})))

    plan = resolve(
        load_recipe(path, ["experts=one", "router=null", "regularizers=[]"]), registry_of()
    )

    assert plan.experts.options == OneOptions(rank=5)
    assert plan.notices == (f"{path}:8:3: experts.count: dropped; 'one' has no such option",)


def test_values_that_the_new_part_does_not_take_are_dropped_with_a_notice(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(dump_recipe(recipe_with(experts={"use": "many", "count": 3, "rank": 0})))

    plan = resolve(
        load_recipe(path, ["experts=one", "router=null", "regularizers=[]"]), registry_of()
    )

    assert plan.experts.options == OneOptions()
    assert f"{path}:9:3: experts.rank: dropped; 'one' does not take 0" in plan.notices
    with pytest.raises(RecipeError, match=r"experts\.rank: should be greater than 0, not 0"):
        resolve(load_recipe(path, ["router=null", "regularizers=[]"]), registry_of())


def test_options_that_are_written_for_the_new_part_are_never_dropped() -> None:
    assert failure("router={use: each, groups: 2}").problems == (
        "--set router={use: each, groups: 2}: router.groups: no such key; there are none here",
    )
    assert failure("router=each", "router.groups=2").problems == (
        "--set router.groups=2: router.groups: no such key; there are none here",
    )


def test_problems_of_parts_with_the_sites_are_told_together() -> None:
    error = failure("router.groups=3", "experts.rank=9")

    assert error.problems == (
        "--set experts.rank=9: experts.rank: 9 is over the width 8",
        "--set router.groups=3: router.groups: 3 does not divide 8",
    )
    assert isinstance(error, CompositionError)


def test_the_width_that_options_are_held_against_is_the_backbone_s() -> None:
    assert plan_of("router.groups=3", "backbone.width=9").shape.width == 9


@pytest.mark.parametrize(
    ("changes", "problems"),
    [
        (
            {"router": None, "regularizers": None},
            [
                "experts: 'many' need a router, and the recipe has none; "
                "write `router: each` (or fixed, grouped, pooled)"
            ],
        ),
        (
            {"experts": "one", "regularizers": None},
            ["router: experts 'one' take no router; leave it out, or write `experts: many`"],
        ),
        (
            {"router": "whole"},
            [
                "router: 'whole' weighs experts per sequence, and 'many' mix them per "
                "model or token or group; write `router: each` (or fixed, grouped, pooled)"
            ],
        ),
        (
            {"router": "pooled", "backbone": {"use": "frozen", "model": "m", "causal": True}},
            [
                "router: 'pooled' weighs a token by others, and a causal backbone must see no "
                "later ones; write `router: each` (or fixed, grouped)"
            ],
        ),
        (
            {"experts": "one", "router": None},
            [
                "regularizers.0: 'apart' keeps experts apart, and 'one' have nothing to mix, so "
                "no pairs; leave it out, or write `experts: many`",
                "regularizers.1: 'even' penalizes routing, and the recipe has no router; "
                "leave it out",
            ],
        ),
        (
            {
                "experts": "based",
                "router": None,
                "regularizers": None,
                "placement": {"use": "side", "kind": "block"},
            },
            [
                "experts: 'based' reads a projection's weight, and the site 'layer0' is a block, "
                "which has none; place adapters on projections, or take other experts"
            ],
        ),
        (
            {"regularizers": ["slow", "apart", "swift"], "train": {"accumulate": 4}},
            [
                "regularizers.2: 'swift' weighs losses, and so does 'slow' at regularizers.0; a "
                "step takes one weight a task, so keep one of them",
                "regularizers.2: 'swift' weighs the losses of a step by these losses, and with "
                "train.accumulate: 4 most are known too late; write train.accumulate: 1, or take "
                "a weighting that reads earlier steps",
            ],
        ),
        (
            {"regularizers": ["surgery", "apart", "surgery"]},
            [
                "regularizers.2: 'surgery' transforms gradients, and so does 'surgery' at "
                "regularizers.0; a step takes one gradient, so keep one of them"
            ],
        ),
        (
            {
                "experts": "based",
                "router": None,
                "regularizers": None,
                "backbone": {"use": "frozen", "model": "small", "packed": True},
            },
            [
                "experts: 'based' reads a projection's weight, and the backbone's weights are "
                "quantized, which are no matrices; load it unquantized, or take other experts"
            ],
        ),
        (
            {"placement": {"use": "side", "sites": []}},
            ["placement: chooses no site of this backbone; it needs at least one"],
        ),
        (
            {"placement": {"use": "side", "sites": ["a", "a", "b.c"]}},
            [
                "placement: chooses the site 'a' twice",
                "placement: names a site 'b.c'; a site's name has no dots",
            ],
        ),
        (
            {"placement": {"use": "side", "sites": ["nowhere"]}},
            ["placement: the backbone has no role 'nowhere'"],
        ),
        (
            {"backbone": {"use": "frozen", "model": "gone"}},
            ["backbone: the configuration of 'gone' cannot be read"],
        ),
    ],
)
def test_parts_that_cannot_work_together_say_why_and_what_instead(
    changes: dict[str, Any], problems: list[str]
) -> None:
    error = failure(**changes)

    assert list(error.problems) == problems
    assert isinstance(error, CompositionError)


@pytest.mark.parametrize(
    "changes",
    [
        {"router": "pooled"},
        {"router": "each", "backbone": {"use": "frozen", "model": "m", "causal": True}},
        {"experts": "based", "router": None, "regularizers": None},
        {"experts": "one", "router": None, "regularizers": []},
    ],
)
def test_neighbours_of_those_that_cannot_can_work_together(changes: dict[str, Any]) -> None:
    assert plan_of(**changes).notices == ()


def test_a_router_that_is_not_installed_is_not_also_called_missing() -> None:
    assert failure(router="nothing").problems == (
        "router.use: router 'nothing' is not installed; "
        "installed: each, fixed, grouped, pooled, whole",
    )


def test_where_no_router_fits_the_advice_says_so() -> None:
    odd = plugin(experts("odd", OneOptions, "task"))

    (found,) = failure(plugins={"odd": odd}, experts="odd", router=None, regularizers=None).problems

    assert found.endswith("no installed router would fit")


def test_a_router_of_tasks_looks_at_no_token_and_suits_a_causal_backbone() -> None:
    by_task = Component(
        "router", "by-task", "parts:NoOptions", "x:y", "", capabilities={"per": "task"}
    )
    several = experts("several", OneOptions, "task")
    registry = registry_of(more=plugin(by_task, several))
    recipe = recipe_with(
        experts="several",
        router="by-task",
        backbone={"use": "frozen", "model": "m", "causal": True},
    )

    assert resolve(load_recipe(recipe), registry).router is not None


def test_equal_experts_under_a_fixed_router_are_allowed_with_a_warning() -> None:
    disguise, nothing_learned = plan_of(router="fixed").notices

    assert disguise.startswith("router: 'fixed' gives every expert of 'many' a fixed weight")
    assert nothing_learned == "regularizers.1: 'even' penalizes routing, and 'fixed' learns none"


@pytest.mark.parametrize(
    ("start_equal", "how"),
    [(True, "start equal, and nothing tells them apart"), (False, "side by side")],
)
def test_the_warning_says_how_the_experts_are_one(start_equal: bool, how: str) -> None:
    many = plugin(experts("twins", OneOptions, "model", start_equal=start_equal))
    recipe = recipe_with(experts="twins", router="fixed", regularizers=["apart"])

    (notice,) = resolve(load_recipe(recipe), registry_of(many=many)).notices

    assert how in notice


SPARSE = plugin(router("few", "token", FewOptions, sparse=True), penalty("fair", "selection"))


def test_a_penalty_on_the_choice_of_experts_asks_for_a_router_that_chooses() -> None:
    (found,) = failure(plugins={"sparse": SPARSE}, router="each", regularizers=["fair"]).problems

    assert found == (
        "regularizers.0: 'fair' evens out which experts a router keeps, and 'each' keeps all; "
        "leave it out, or write `router: few`"
    )


def test_a_penalty_on_the_choice_of_experts_asks_for_a_router() -> None:
    parts: Any = {"experts": "one", "router": None, "regularizers": ["fair"]}

    (found,) = failure(plugins={"sparse": SPARSE}, **parts).problems

    assert found.endswith("'fair' penalizes routing, and the recipe has no router; leave it out")


def test_a_sparse_router_s_choice_can_be_penalized_and_held_against_the_experts() -> None:
    plugins: Any = {"sparse": SPARSE}
    sparse = recipe_with(router={"use": "few", "k": 3}, regularizers=["fair"])

    assert resolve(load_recipe(sparse), registry_of(**plugins)).notices == ()
    error = failure(plugins=plugins, router={"use": "few", "k": 4}, regularizers=["fair"])
    assert error.problems == ("router.k: 4 of 3 experts",)
    assert isinstance(error, CompositionError)


def test_a_transform_is_told_from_penalties_and_says_what_becomes_of_those_on_routing() -> None:
    plan = plan_of(regularizers=["even", "surgery", "apart"])

    assert plan.transform is not None
    assert plan.transform.component.name == "surgery"
    assert [bound.component.name for bound in plan.penalties] == ["even", "apart"]
    assert plan.notices == (
        "regularizers.0: under 'surgery', 'even' moves routers only: its gradient does not flow "
        "on into the sites before them",
    )
    assert plan_of().transform is None


def test_a_weighting_stands_beside_penalties_and_a_transform() -> None:
    plan = plan_of(regularizers=["apart", "slow", "surgery"], train={"accumulate": 4})

    assert plan.weighting is not None
    assert plan.weighting.component.name == "slow"
    assert plan.transform is not None
    assert [bound.component.name for bound in plan.penalties] == ["apart"]
    assert plan_of(regularizers=["swift"]).weighting is not None
    assert plan_of().weighting is None


@pytest.mark.parametrize(
    ("capabilities", "reason"),
    [
        ({}, "declares none of 'penalizes', 'transforms_gradients', 'weighs_losses'"),
        (
            {"penalizes": "weights", "weighs_losses": "earlier"},
            "declares 'penalizes' and 'weighs_losses' of 'penalizes', ",
        ),
        ({"weighs_losses": "later"}, "'weighs_losses' must be earlier or current, not 'later'"),
    ],
)
def test_a_regularizer_does_one_thing(capabilities: dict[str, Any], reason: str) -> None:
    (problem,) = problems_of(part("regularizer", "x", NoOptions, capabilities=capabilities))

    assert reason in problem


@pytest.mark.parametrize(
    ("component", "reason"),
    [
        (experts("x", OneOptions, "tokens"), "'mixes' must be a tuple, each of them model, task, "),
        (
            part("experts", "x", OneOptions, capabilities={"mixes": "token"}),
            "or group, not 'token'",
        ),
        (experts("x", OneOptions, mergeable=1), "'mergeable' must be True or False, not 1"),
        (
            router("x", "tokens"),
            "'per' must be model, task, sequence, token or group, not 'tokens'",
        ),
        (part("router", "x", NoOptions), "'per' must be model, task, sequence, token or group"),
        (penalty("x", "weight"), "'penalizes' must be weights, routing or selection, not 'weight'"),
        (
            part("placement", "x", NoOptions, capabilities={"sites": ("blocks",)}),
            "'sites' must be a tuple, each of them projection or block, not ('blocks',)",
        ),
    ],
)
def test_a_capability_is_one_of_the_values_that_something_reads(
    component: Component, reason: str
) -> None:
    (problem,) = problems_of(component)

    assert reason in problem


@pytest.mark.parametrize(
    ("scope", "accumulate", "reasons"),
    [
        ("per-matrix", 1, []),
        ("per-layer", 1, []),
        ("global", 1, ["scope: global"]),
        ("per-matrix", 4, ["train.accumulate: 4"]),
        ("global", 2, ["scope: global", "train.accumulate: 2"]),
    ],
)
def test_a_plan_says_why_the_gradients_of_all_tasks_are_kept(
    scope: str, accumulate: int, reasons: list[str]
) -> None:
    changes: dict[str, Any] = {"train": {"accumulate": accumulate}}
    plan = plan_of(regularizers=[{"use": "surgery", "scope": scope}], **changes)

    assert plan.describe()["rows_kept"] == reasons
    assert plan_of(**changes).describe()["rows_kept"] == []


def test_an_unlearned_router_that_tells_units_apart_is_no_disguise() -> None:
    hashed = plugin(router("hashed", "token", learned=False))
    recipe = recipe_with(router="hashed", regularizers=["apart"])

    assert resolve(load_recipe(recipe), registry_of(hashed=hashed)).notices == ()


@pytest.mark.parametrize(
    ("requirement", "reason"),
    [
        ("pydantic>=99", "pydantic 2."),
        ("absent-package", "absent-package is not installed: pip install 'absent-package'"),
        ("!!", "'!!' is no requirement"),
        ("toys>=1", "toys 0+unpackaged is installed, which is not >=1"),
    ],
)
def test_a_requirement_that_is_not_met_says_what_there_is(requirement: str, reason: str) -> None:
    (found,) = failure(requires=["pydantic>=2", requirement]).problems

    assert found.startswith(f"requires.1: {reason}")


def test_a_requirement_for_another_system_is_passed_over() -> None:
    plan_of(requires=["absent-package; python_version < '3'"])


def test_a_plugin_that_is_broken_is_fatal_where_it_is_named_and_only_there() -> None:
    broken: dict[str, object] = {"bad": plugin(3)}  # type: ignore[arg-type]

    error = failure(plugins=broken, router="bad/each")

    assert isinstance(error, PluginError)
    assert error.problems[0].startswith("router.use: the plugin 'bad' is broken: ")
    resolve(load_recipe(recipe_with()), registry_of(**broken))


@pytest.mark.parametrize(
    ("component", "reason"),
    [
        (Component("router", "x", "nowhere:Options", "x:y", ""), "cannot load 'nowhere:Options'"),
        (Component("router", "x", "parts:Nothing", "x:y", ""), "cannot load 'parts:Nothing'"),
        (Component("router", "x", "parts:plugin", "x:y", ""), "subclass of mtlora_core.options"),
        (part("backbone", "x", NoOptions), "options.BackboneOptions"),
        (part("regularizer", "x", NoOptions, capabilities={"penalizes": "weights"}), "Penalty"),
        (
            part("regularizer", "x", NoOptions, capabilities={"transforms_gradients": True}),
            "options.TransformOptions",
        ),
    ],
)
def test_options_that_break_the_contract_name_the_plugin(component: Component, reason: str) -> None:
    capabilities = {"per": "token"} if component.kind == "router" else component.capabilities
    whole = Component(
        component.kind, "x", component.options, component.build, "", capabilities=capabilities
    )
    kind = "regularizers" if component.kind == "regularizer" else component.kind
    written: Any = ["x"] if kind == "regularizers" else {"use": "x"}

    error = failure(plugins={"rough": plugin(whole)}, **{kind: written})

    assert isinstance(error, PluginError)
    assert reason in error.problems[0]


def test_the_observers_that_a_recipe_names_come_with_the_plan() -> None:
    class Listener:
        @hookimpl
        def mtlora_step(self, record: Any) -> None: ...

    listener = Listener()
    registry = registry_of(listener=listener, other=Listener())

    plan = resolve(load_recipe(recipe_with(observe=["listener"])), registry)

    assert plan.observers == (listener,)


def test_a_model_of_the_user_s_own_gives_the_shape_and_needs_no_options_of_its_own() -> None:
    recipe = load_recipe(recipe_with(backbone="frozen", tasks={"use": "data", "root": 3}))

    plan = resolve(recipe, registry_of(), 12)

    assert plan.shape == shape_with(12, causal=False)
    assert plan.to_json()["tasks"] == {"use": "data", "root": 3}


def test_a_trained_model_does_without_the_options_of_its_data() -> None:
    recipe = load_recipe(recipe_with(tasks={"use": "data", "root": 3}))

    assert resolve(recipe, registry_of(), data=False).shape == FrozenOptions(model="m").shape()
    with pytest.raises(RecipeError, match=r"tasks\.root"):
        resolve(recipe, registry_of())


def test_a_recipe_is_checked_without_torch_transformers_or_datasets(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(dump_recipe(recipe_with()))
    probe = (
        "import sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from parts import registry_of\n"
        "from mtlora_core import Registry, load_recipe, resolve\n"
        f"resolve(load_recipe({str(path)!r}), registry_of()).to_json()\n"
        "Registry.discover().parts()\n"
        "print(*{'torch', 'transformers', 'datasets', 'numpy'} & set(sys.modules))"
    )

    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)

    assert (done.stdout, done.stderr) == ("\n", "")
