"""The helpers of adapters do what their docstrings say."""

from __future__ import annotations

import ast
import doctest
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, randn_like

from refdiff.conformance import adapters
from refdiff.conformance.adapters.clipping import unclipped
from refdiff.conformance.adapters.draws import replay
from refdiff.conformance.adapters.network import Network
from refdiff.conformance.adapters.shapes import from_images, one_by_one, per_example, to_images
from refdiff.conformance.adapters.tensors import from_jax, from_torch, to_jax, to_torch
from refdiff.conformance.formats import FORMATS
from refdiff.conformance.interface import DType
from refdiff.errors import ConfigError, DomainError


def test_lazy_names_are_the_names_that_a_type_checker_sees() -> None:
    """The table of homes and the imports under TYPE_CHECKING are one list."""
    tree = ast.parse(Path(adapters.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    typed = {alias.asname: node.module for node in imports for alias in node.names}
    assert typed == {name: f"refdiff.conformance.{home}" for name, home in adapters._HOMES.items()}


@pytest.mark.parametrize("name", sorted(adapters._HOMES))
def test_the_example_of_each_helper_is_true(name: str) -> None:
    """`adapters.x` is the object of its module, and its docstring's example, if it has one, prints what it says."""
    module = import_module(f"refdiff.conformance.{adapters._HOMES[name]}")
    value = getattr(adapters, name)
    assert value is getattr(module, name)
    assert name in dir(adapters)
    example = doctest.DocTestParser().get_doctest(value.__doc__ or "", vars(module).copy(), name, None, None)
    assert example.examples or adapters._HOMES[name] == "notation"
    said: list[str] = []
    doctest.DocTestRunner().run(example, out=said.append)
    assert not said, "".join(said)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """As of any module."""
    with pytest.raises(AttributeError, match=r"module 'refdiff\.conformance\.adapters' has no attribute 'nothing'"):
        _ = adapters.nothing


def test_numpy_helpers_bring_no_framework() -> None:
    """An adapter of a library in JAX needs no torch, and one in torch no JAX."""
    code = "from refdiff.conformance.adapters import Library, from_jax, one_by_one, to_images, zero_based\nimport sys\n"
    check = "found = {'torch', 'jax'} & set(sys.modules)\nsys.exit(str(found) if found else 0)"
    done = subprocess.run([sys.executable, "-c", code + check], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


@given(st.lists(st.integers(1, 3), max_size=5), st.integers(1, 3))
def test_events_return_from_images(event: list[int], batch: int) -> None:
    """`from_images` undoes `to_images`, for NumPy and torch, and images have rank 4."""
    x = np.random.default_rng(0).standard_normal((batch, *event))
    assert to_images(x).ndim == to_images(torch.from_numpy(x)).ndim == 4
    assert (from_images(to_images(x), event) == x).all()
    assert (from_images(to_images(torch.from_numpy(x)), event).numpy() == x).all()


def test_images_of_another_size_are_refused() -> None:
    """A reshape would else mix examples."""
    with pytest.raises(DomainError, match=r"expected images of 3 numbers an example, got \(2, 1, 2, 3\) \(CON-2\)"):
        from_images(np.zeros((2, 1, 2, 3)), (3,))


def test_one_by_one_gives_numbers_for_times_and_joins_tuples() -> None:
    """Integers arrive as int, floats without axes, arrays as batches of one; all parts of a tuple are joined."""
    seen: list[Any] = []

    def call(x: Tensor, k: int, t: Tensor) -> tuple[Tensor, Tensor]:
        seen.append((tuple(x.shape), type(k), tuple(t.shape)))
        return x + k, t.reshape(1)

    first, second = one_by_one(call, torch.zeros(2, 3), torch.tensor([1, 2]), torch.tensor([0.1, 0.2]))
    assert seen == [((1, 3), int, ())] * 2
    assert first.tolist() == [[1.0] * 3, [2.0] * 3]
    assert second.tolist() == torch.tensor([0.1, 0.2]).tolist()


@pytest.mark.parametrize("sizes", [(2, 3), (0, 0)])
def test_one_by_one_refuses_batches_that_do_not_match(sizes: tuple[int, int]) -> None:
    """A shorter batch would drop examples without a word."""
    with pytest.raises(DomainError, match="expected batches of one size, from 1, got sizes"):
        one_by_one(lambda x, y: x + y, np.zeros((sizes[0], 1)), np.zeros((sizes[1], 1)))


Draw = Callable[[], Tensor]
STANDARD: list[tuple[str, Draw, Tensor]] = [
    ("normal", lambda: torch.randn(2), torch.tensor([1.5, -2.0])),
    ("normal", lambda: torch.randn((2,)), torch.tensor([1.5, -2.0])),
    ("normal", lambda: torch.randn(size=(2,), dtype=torch.float64), torch.tensor([1.5, -2.0]).double()),
    ("normal", lambda: torch.randn_like(torch.zeros(2, dtype=torch.float16)), torch.tensor([1.5, -2.0]).half()),
    ("normal", lambda: randn_like(torch.zeros(2)), torch.tensor([1.5, -2.0])),
    ("normal", lambda: torch.zeros(2).normal_(), torch.tensor([1.5, -2.0])),
    ("normal", lambda: torch.zeros(2).normal_(1.0, std=2.0), torch.tensor([4.0, -3.0])),
    ("normal", lambda: torch.normal(torch.ones(2), torch.full((2,), 2.0)), torch.tensor([4.0, -3.0])),
    ("normal", lambda: torch.normal(1.0, 2.0, (2,)), torch.tensor([4.0, -3.0])),
    ("uniform", lambda: torch.rand(2), torch.tensor([0.25, 0.5])),
    ("uniform", lambda: torch.rand_like(torch.zeros(2)), torch.tensor([0.25, 0.5])),
    ("uniform", lambda: torch.zeros(2).uniform_(1, 3), torch.tensor([1.5, 2.0])),
    ("integers", lambda: torch.randint(0, 10, (2,)), torch.tensor([0, 9])),
    ("integers", lambda: torch.randint(10, size=(2,)), torch.tensor([0, 9])),
    ("integers", lambda: torch.randint(low=0, high=10, size=(2,)), torch.tensor([0, 9])),
    ("integers", lambda: torch.randint_like(torch.zeros(2), 10), torch.tensor([0.0, 9.0])),
    ("integers", lambda: torch.zeros(2).random_(0, 10), torch.tensor([0.0, 9.0])),
]
GIVEN = {"normal": torch.tensor([1.5, -2.0]), "uniform": torch.tensor([0.25, 0.5]), "integers": torch.tensor([0, 9])}


@pytest.mark.parametrize("index", range(len(STANDARD)))
def test_every_way_to_draw_is_replayed(index: int) -> None:
    """The given draw comes, in the dtype, mean and deviation that are asked for; a second is an error."""
    law, draw, want = STANDARD[index]
    with replay(**{law: [GIVEN[law]]}):
        got = draw()
        assert got.dtype == want.dtype
        assert torch.equal(got, want)
        with pytest.raises(DomainError, match=f"expected no further draw of {law}, got one of shape"):
            draw()


def test_a_library_cannot_change_what_it_was_given() -> None:
    """A draw that is edited in place is a copy."""
    noise = torch.ones(2)
    with replay(normal=[noise]):
        torch.randn(2).mul_(0.0)
    assert noise.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: torch.randn(3), r"expected a draw of shape \(2,\), got one of shape \(3,\)"),
        (lambda: torch.randint(0, 9, (2,)), r"expected integers in \[0, 9\), got \[0, 9\]"),
        (lambda: torch.randint(1, 10, (2,)), r"expected integers in \[1, 10\), got \[0, 9\]"),
        (lambda: torch.zeros(2).random_(), "expected a range of integers, got none"),
        (lambda: torch.randperm(2), "expected draws of normal, uniform or integers, got a call of randperm"),
        (lambda: torch.zeros(2), "expected each draw to be asked for, got 1 normal, 1 integers left"),
    ],
)
def test_draws_that_do_not_fit_are_refused(draw: Draw, message: str) -> None:
    """Another shape, another range, another kind of draw, and a draw that is never asked for."""
    with pytest.raises(DomainError, match=message), replay(normal=[torch.zeros(2)], integers=[GIVEN["integers"]]):
        draw()


def test_after_a_replay_torch_draws_again() -> None:
    """The replay ends with its block, also by an error."""
    with pytest.raises(ZeroDivisionError), replay(normal=[torch.zeros(2)]):
        _ = 1 / 0
    assert torch.randn(2).abs().sum() > 0


def test_only_clamps_to_the_range_of_the_data_are_left_out() -> None:
    """Both spellings, in place and not; a clamp from below, to another range, or by tensors stays."""
    x = torch.tensor([-3.0, 0.5, 3.0])
    clamps: list[Draw] = [
        lambda: x.clamp(-1, 1),
        lambda: torch.clamp(x, min=-1.0, max=1.0),
        lambda: x.clone().clamp_(-1.0, 1.0),
        lambda: torch.clip(x, -1, 1),
    ]
    with unclipped():
        assert all(torch.equal(clamp(), x) for clamp in clamps)
        assert x.clamp(min=-1.0).tolist() == [-1.0, 0.5, 3.0]
        assert x.clamp(-2.0, 2.0).tolist() == [-2.0, 0.5, 2.0]
        assert x.clamp(torch.tensor(-1.0), torch.tensor(1.0)).tolist() == [-1.0, 0.5, 1.0]
    with unclipped(2.0):
        assert torch.equal(x.clamp(-2.0, 2.0), x)
    assert all(clamp().tolist() == [-1.0, 0.5, 1.0] for clamp in clamps)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_tensors_go_there_and_back_to_the_bit(dtype: DType) -> None:
    """Values of the claimed dtype survive both ways, in its storage dtype, as copies; integers stay integers."""
    array = FORMATS[dtype].rounded(np.random.default_rng(0).standard_normal(100))
    array.flags.writeable = False
    ways: list[tuple[Any, Any]] = [(to_torch, from_torch)] + ([(to_jax, from_jax)] if dtype != "float64" else [])
    for there, back in ways:
        got = back(there(array, dtype), dtype)
        assert got.dtype == array.dtype
        assert (got == array).all()
        assert str(there(np.array([1, 2]), dtype).dtype).removeprefix("torch.") in ("int64", "int32")
    to_torch(array, dtype).zero_()
    assert array.any()


def test_a_dtype_that_is_not_the_claimed_one_is_refused() -> None:
    """A silent cast would judge a rounding that is the adapter's; JAX without 64 bits casts silently."""
    with pytest.raises(DomainError, match="expected a tensor of float32, got float64"):
        from_torch(torch.zeros(1, dtype=torch.float64), "float32")
    with pytest.raises(DomainError, match="expected a tensor of float32, got float16"):
        from_jax(jnp.zeros(1, dtype=jnp.float16), "float32")
    with jax.enable_x64(False), pytest.raises(ConfigError, match="expected jax_enable_x64"):
        to_jax(np.zeros(1), "float64")
    with jax.enable_x64(True):
        assert from_jax(to_jax(np.zeros(1), "float64"), "float64").dtype == np.float64


def test_a_network_records_what_it_is_given() -> None:
    """x_t as the network sees it, unharmed by later changes, and the time, by position or by name."""
    network = Network(lambda x, *_, **__: 2 * x, channels=3)
    x = torch.ones(2, 3)
    assert torch.equal(network(x, torch.tensor([4])), 2 * x)
    network(x, time=torch.tensor([5]))
    x.zero_()
    assert [int(t) for t in network.times] == [4, 5]
    assert all(torch.equal(seen, torch.ones(2, 3)) for seen in network.inputs)


def test_a_coefficient_multiplies_examples() -> None:
    """As in NOT-2: one number for each example."""
    x = torch.ones(3, 3)
    assert (per_example(torch.tensor([1.0, 2.0, 3.0]), x) * x).tolist() == [[1.0] * 3, [2.0] * 3, [3.0] * 3]


def test_draws_of_jax_are_replayed_once() -> None:
    """Each named law is answered once, by the array that is given; a second draw, and none, are errors."""
    key = jax.random.key(0)
    with adapters.replay_jax(normal=jnp.ones(2), uniform=jnp.zeros(3)):
        assert jax.random.uniform(key, (3,), minval=0.5).tolist() == [0.0, 0.0, 0.0]
        assert jax.random.normal(key, (2,)).tolist() == [1.0, 1.0]
        with pytest.raises(DomainError, match=r"expected no further draw of normal, got one \(CON-4\)"):
            jax.random.normal(key, (2,))
    assert jax.random.normal(key, (2,)).tolist() != [1.0, 1.0]
    with pytest.raises(DomainError, match=r"got uniform left \(CON-4\)"), adapters.replay_jax(uniform=jnp.zeros(3)):
        pass


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_denoiser_is_asked_from_compiled_jax(dtype: DType) -> None:
    """Inside of jit and scan the denoiser is given arrays of the contract, and its answer is of the claimed dtype."""
    asked: list[Any] = []

    def denoiser(x: Any, t: Any) -> Any:
        asked.extend([x, t])
        return 2 * x

    ask = adapters.asking_jax(denoiser, dtype)

    @jax.jit
    def thrice(x: Any) -> Any:
        return jax.lax.scan(lambda y, t: (ask(y, t[None]), None), x, jnp.zeros(3, dtype=dtype))[0]

    found = thrice(jnp.ones((1, 2), dtype=dtype))
    assert (str(found.dtype), found.tolist()) == (dtype, [[8.0, 8.0]])
    assert all(type(one) is np.ndarray and one.dtype == FORMATS[dtype].storage for one in asked)
    assert [one.shape for one in asked] == [(1, 2), (1,)] * 3


def test_denoiser_is_given_indices_of_a_chain() -> None:
    """As int64, as the contract has them, though JAX keeps them in 32 bits."""
    asked: list[Any] = []

    def denoiser(x: Any, k: Any) -> Any:
        asked.append(k)
        return x

    jax.jit(adapters.asking_jax(denoiser, "float32"))(
        jnp.ones((2, 1), jnp.float32), jnp.array([1, 1000])
    ).block_until_ready()
    assert [(k.dtype, k.tolist()) for k in asked] == [(np.int64, [1, 1000])]
