"""The three Gaussians: values, laws, densities, derivatives in time, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import forward_ad
from torch.distributions import Normal
from torch.func import grad, jvp, vmap

from refdiff.chain import DiscreteChain
from refdiff.errors import DomainError
from refdiff.marginal import (
    conditional_score,
    log_density,
    marginal,
    perturb,
    posterior,
    posterior_mean,
    transition,
)
from refdiff.schedule import CosineSchedule, LinearSchedule, NoiseProcess

U = 2.0**-53
SCHEDULES: list[NoiseProcess] = [
    LinearSchedule(),
    LinearSchedule(beta_min=0.0),
    LinearSchedule(beta_min=5.0, beta_max=5.0),
    CosineSchedule(),
    CosineSchedule(s=0.0),
]
CHAIN = DiscreteChain(betas=tuple(torch.linspace(1e-4, 0.02, 50, dtype=torch.float64).tolist()))
EVENTS = [(), (3,), (2, 3), (2, 1, 3), (1, 2, 3, 2), (0,)]

of_every_schedule = pytest.mark.parametrize("process", SCHEDULES, ids=repr)
of_every_event = pytest.mark.parametrize("event", EVENTS, ids=str)
in_time = st.floats(2.0**-20, 1.0)


def _wide(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _normal(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def _log_normal(at: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Return the log-density of torch's own normal law."""
    density: Tensor = Normal(mean, scale).log_prob(at)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return density


def _is_the_sum(got: Tensor, x: Tensor, y: Tensor) -> None:
    """Ask for two products and their sum, in float64, fused or not; each side rounds to 2 u + u^2 of the terms."""
    assert ((got - (x + y)).abs() <= 2 * (2 * U + U**2) * (x.abs() + y.abs())).all()


@of_every_event
@pytest.mark.parametrize("process", [*SCHEDULES, CHAIN], ids=lambda q: type(q).__name__)
def test_each_example_is_noised_by_its_own_time(process: NoiseProcess, event: tuple[int, ...]) -> None:
    """MAR-4, MAR-5: row by row, x_t = alpha x_0 + sigma eps, at any rank of the event, however many rows there are."""
    t = torch.tensor([0, 1, 25, 50]) if isinstance(process, DiscreteChain) else _wide(0.0, 2.0**-20, 0.5, 1.0)
    x_0, eps = _normal(4, *event, seed=1), _normal(4, *event, seed=2)
    got = perturb(process, x_0, eps, t)
    for i in range(4):
        _is_the_sum(got[i], process.alpha(t[i]) * x_0[i], process.sigma(t[i]) * eps[i])
        alone = perturb(process, x_0[i : i + 1], eps[i : i + 1], t[i : i + 1])
        assert torch.equal(got[i : i + 1], alone)
    assert torch.equal(marginal(process, t).mean(x_0), perturb(process, x_0, torch.zeros_like(eps), t))
    assert torch.equal(process.sigma(t), marginal(process, t).sigma)


@of_every_schedule
def test_a_square_batch_is_no_exception(process: NoiseProcess) -> None:
    """MAR-5: as many examples as features, and still each row has its own time."""
    t, x = _wide(0.1, 0.5, 0.9), torch.ones(3, 3, dtype=torch.float64)
    assert torch.equal(marginal(process, t).mean(x), process.alpha(t)[:, None].expand(3, 3))


@pytest.mark.parametrize("data", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("time", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_the_data_decides_the_dtype(time: torch.dtype, data: torch.dtype) -> None:
    """MAR-1, MAR-2: coefficients are of the exact t, in float64, and rounded once, to the dtype of the data."""
    q, t = LinearSchedule(), _wide(0.0, 0.1, 0.7, 1.0).to(time)
    one, none = torch.ones(4, 2, dtype=data), torch.zeros(4, 2, dtype=data)
    assert torch.equal(perturb(q, one, none, t), q.alpha(t.double()).to(data)[:, None].expand(4, 2))
    assert torch.equal(perturb(q, none, one, t), q.sigma(t.double()).to(data)[:, None].expand(4, 2))
    assert torch.equal(marginal(q, t).mean(one), perturb(q, one, none, t))
    later = t[1:]
    assert {f(q, one[1:], none[1:], later).dtype for f in (log_density, conditional_score)} == {data}
    assert posterior_mean(q, one[1:], none[1:], t=later, s=later / 2).dtype == data
    assert (q.sigma(t).dtype, marginal(q, t).sigma.dtype) == (time, torch.float64)


@given(in_time, in_time, st.sampled_from(SCHEDULES))
def test_transitions_make_a_semigroup(a: float, b: float, process: NoiseProcess) -> None:
    """MAR-6: on from s to t after 0 to s is 0 to t, in mean and variance.

    alpha, sigma^2 are known to 8 u (1 + kappa), kappa <= 4 each (|x e^-x| and |x tan x cos^2 x| stay below 1, twice for
    the parameters, twice for the square), a ratio to alpha(s) divides that by it.
    """
    s, t = _wide(min(a, b)), _wide(max(a, b))
    if s == 1.0:
        return
    first, on, whole = marginal(process, s), transition(process, t=t, s=s), marginal(process, t)
    bound = 3 * 40 * U / first.alpha.item() ** 2
    assert abs((on.alpha * first.alpha - whole.alpha).item()) <= bound
    assert abs((on.alpha**2 * first.sigma**2 + on.sigma**2 - whole.sigma**2).item()) <= bound
    assert abs((on.alpha**2 + on.sigma**2 - 1.0).item()) <= bound


@pytest.mark.parametrize("process", [*SCHEDULES, CHAIN], ids=repr)
def test_a_transition_from_0_is_the_marginal_and_of_no_length_the_identity(process: NoiseProcess) -> None:
    """MAR-6 at its ends: s = 0 gives q(x_t | x_0), s = t gives the identity, exactly."""
    t = torch.tensor([1, 7, 50]) if isinstance(process, DiscreteChain) else _wide(2.0**-20, 0.5, 0.75)
    whole, same = transition(process, t=t, s=torch.zeros_like(t)), transition(process, t=t, s=t)
    assert torch.equal(whole.alpha, process.alpha(t))
    assert torch.equal(whole.sigma, process.sigma(t))
    assert torch.equal(same.alpha, torch.ones(3, dtype=torch.float64))
    assert torch.equal(same.sigma, torch.zeros(3, dtype=torch.float64))


@given(in_time, in_time, st.floats(-3.0, 3.0), st.floats(-3.0, 3.0), st.floats(-3.0, 3.0), st.sampled_from(SCHEDULES))
def test_bayes_rule_holds_point_by_point(
    a: float, b: float, x_0: float, x_s: float, z: float, process: NoiseProcess
) -> None:
    """MAR-7: q(x_t | x_s) q(x_s | x_0) = q(x_t | x_0) q(x_s | x_t, x_0), as log-densities of torch's own Normal.

    An error e of a mean or scale moves a log-density by at most (1 + z^2) e/scale for each factor; e is 40 u/alpha_s^2
    as in the semigroup, over the smallest scale; asked where the two times are apart.
    """
    s, t = _wide(min(a, b)), _wide(max(a, b))
    if t - s < 2.0**-8 or s > 0.99:
        return
    p, on, at_s, at_t = (
        posterior(process, t=t, s=s),
        transition(process, t=t, s=s),
        marginal(process, s),
        marginal(process, t),
    )
    x_t, at = on.alpha * x_s + on.sigma * z, _wide(x_s)
    joint = _log_normal(x_t, on.alpha * x_s, on.sigma) + _log_normal(at, at_s.alpha * x_0, at_s.sigma)
    back = _log_normal(at, p.on_x_0 * x_0 + p.on_x_t * x_t, p.variance.sqrt())
    want = _log_normal(x_t, at_t.alpha * x_0, at_t.sigma) + back
    scale = min(at_s.sigma.item(), p.variance.sqrt().item(), on.sigma.item())
    deviation = 1.0 + (x_s - at_s.alpha.item() * x_0) ** 2 / scale**2 + z**2
    assert abs((joint - want).item()) <= 4 * deviation * 120 * U / (scale * at_s.alpha.item() ** 2)


@given(in_time, in_time, st.sampled_from(SCHEDULES))
def test_the_posterior_undoes_the_marginal(a: float, b: float, process: NoiseProcess) -> None:
    """MAR-8: A + B alpha_t = alpha_s and B^2 sigma_t^2 + variance = sigma_s^2, within MAR-7's bound at u of float64."""
    s, t = _wide(min(a, b)), _wide(max(a, b))
    if s == t or s > 0.999:
        return
    p, at_s, at_t = posterior(process, t=t, s=s), marginal(process, s), marginal(process, t)
    # kappa <= 4, so each delta of MAR-7 is at most 20 u.
    bound = 4 * (40 + 40 / at_s.alpha.item() ** 2) * U / at_t.sigma.item() ** 2
    assert abs((p.on_x_0 + p.on_x_t * at_t.alpha - at_s.alpha).item()) <= bound
    assert abs((p.on_x_t**2 * at_t.sigma**2 + p.variance - at_s.sigma**2).item()) <= bound


@of_every_schedule
def test_the_posterior_at_the_start_is_the_data(process: NoiseProcess) -> None:
    """MAR-7 at s = 0: mean x_0, variance 0, exactly."""
    p = posterior(process, t=_wide(0.5, 1.0), s=_wide(0.0, 0.0))
    assert (p.on_x_0.tolist(), p.on_x_t.tolist(), p.variance.tolist()) == ([1.0, 1.0], [0.0, 0.0], [0.0, 0.0])


@of_every_event
def test_the_posterior_mean_combines_row_by_row(event: tuple[int, ...]) -> None:
    """MAR-7: A x_0 + B x_t with each example's own A and B."""
    q, s, t = CosineSchedule(), _wide(0.0, 0.2, 0.5), _wide(0.3, 0.4, 1.0)
    x_t, x_0, p = _normal(3, *event, seed=3), _normal(3, *event, seed=4), posterior(CosineSchedule(), t=t, s=s)
    got = posterior_mean(q, x_t, x_0, t=t, s=s)
    for i in range(3):
        _is_the_sum(got[i], p.on_x_0[i] * x_0[i], p.on_x_t[i] * x_t[i])


@of_every_event
@of_every_schedule
def test_the_log_density_is_that_of_torchs_normal(process: NoiseProcess, event: tuple[int, ...]) -> None:
    """MAR-9: summed over the event, one number per example; in float64, a dozen roundings of the terms' magnitudes."""
    t, x_0 = _wide(2.0**-20, 0.5, 1.0), _normal(3, *event, seed=5)
    x_t = perturb(process, x_0, _normal(3, *event, seed=6), t)
    q = marginal(process, t)
    column = (3, *(1,) * len(event))
    terms = _log_normal(x_t, q.alpha.reshape(column) * x_0, q.sigma.reshape(column)).reshape(3, -1)
    got = log_density(process, x_t, x_0, t)
    assert got.shape == (3,)
    # D log sigma and the squares, where x_t - alpha x_0 is a difference: 1/sigma of u.
    bound = U * (16 * terms.abs().sum(1) + 16 * terms.shape[1] * (5.0 + 1.0 / q.sigma))
    assert ((got - terms.sum(1)).abs() <= bound).all()


@of_every_event
@of_every_schedule
def test_the_score_is_the_gradient_of_the_log_density(process: NoiseProcess, event: tuple[int, ...]) -> None:
    """MAR-9: by autograd; the same three operations in another order, so 8 roundings."""
    t, x_0 = _wide(2.0**-20, 0.5, 1.0), _normal(3, *event, seed=7)
    x_t = perturb(process, x_0, _normal(3, *event, seed=8), t).requires_grad_()
    (gradient,) = torch.autograd.grad(log_density(process, x_t, x_0, t).sum(), x_t)
    assert torch.allclose(conditional_score(process, x_t, x_0, t), gradient, rtol=8 * U, atol=0.0)


def test_the_score_is_minus_eps_over_sigma() -> None:
    """MAR-9, PAR-4: at x_t = alpha x_0 + sigma eps; what x_t - alpha x_0 loses is u (1 + 1/sigma) of its terms."""
    q, t = LinearSchedule(), _wide(2.0**-10, 0.5, 1.0)
    x_0, eps = _normal(3, 4, seed=9), _normal(3, 4, seed=10)
    sigma = q.sigma(t)[:, None]
    got = conditional_score(q, perturb(q, x_0, eps, t), x_0, t)
    assert ((got + eps / sigma).abs() <= 8 * U * ((x_0.abs() + eps.abs()) / sigma + eps.abs()) / sigma).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
def test_no_density_where_sigma_vanishes_in_the_dtype_of_the_data(dtype: torch.dtype) -> None:
    """MAR-9: at t = 0, and at a float64 t so small that sigma rounds to 0 in the dtype of the data."""
    x = torch.zeros(1, 2, dtype=dtype)
    for t, sigma in ((0.0, r"0\.0"), (1e-100, r"3\..*e-51")):
        for f in (log_density, conditional_score):
            with pytest.raises(
                DomainError, match=rf"expected sigma > 0 in the dtype of the data, got {sigma} \(MAR-9\)$"
            ):
                f(LinearSchedule(), x, x, _wide(t))
    tiny = conditional_score(LinearSchedule(), x.float() + 1e-30, x.float(), _wide(2.0**-140))
    assert tiny.isfinite().all(), "1/sigma^2 overflows float32 there, the score does not"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@of_every_schedule
def test_a_sum_of_two_products_rounds_thrice_at_most(process: NoiseProcess, dtype: torch.dtype) -> None:
    """MAR-4 by its last term: from coefficients rounded once, |x| and |y| each lose 2 u + u^2, subnormals half a step.

    Half precision is added up in float32, which may round twice more, 2^-24 each.
    """
    t, x_0, eps = (
        torch.rand(64, dtype=torch.float64),
        _normal(64, 77, dtype=dtype),
        _normal(64, 77, dtype=dtype, seed=1),
    )
    x = process.alpha(t).to(dtype).double()[:, None] * x_0.double()
    y = process.sigma(t).to(dtype).double()[:, None] * eps.double()
    u, step = torch.finfo(dtype).eps / 2, torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    error = (perturb(process, x_0, eps, t).double() - (x + y)).abs()
    assert (error <= (2 * u + u**2 + 2.0**-22) * (x.abs() + y.abs()) + 1.5 * step).all()


@of_every_schedule
def test_perturb_is_differentiable_in_all_it_takes(process: NoiseProcess) -> None:
    """MAR-4, NUM-4: reverse and forward mode, twice over, and the arguments stay as they were."""
    x_0, eps, t = _normal(3, 2), _normal(3, 2, seed=1), _wide(0.25, 0.5, 0.75)
    before = [x.clone() for x in (x_0, eps, t)]
    inputs = tuple(x.requires_grad_() for x in (x_0, eps, t))
    assert torch.autograd.gradcheck(partial(perturb, process), inputs, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(partial(perturb, process), inputs)
    for had, has in zip(before, inputs, strict=True):
        assert torch.equal(had, has)


@of_every_schedule
def test_requires_grad_changes_no_value(process: NoiseProcess) -> None:
    """NUM-4: with a gradient, a dual number, without either and under `no_grad`: the same bits."""
    x_0, eps, t = _normal(3, 2), _normal(3, 2, seed=1), _wide(0.0, 0.5, 1.0)
    want = perturb(process, x_0, eps, t)
    for x in (x_0, eps, t):
        x.requires_grad_()
        assert torch.equal(perturb(process, x_0, eps, t).detach(), want)
        with torch.no_grad():
            assert torch.equal(perturb(process, x_0, eps, t), want)
        x.requires_grad_(False)
    t = _wide(2.0**-20, 0.5, 1.0)
    want, slope = jvp(partial(perturb, process, x_0, eps), (t,), (torch.ones_like(t),))[:2]
    with forward_ad.dual_level():
        moved = forward_ad.make_dual(t, torch.ones_like(t))  # type: ignore[no-untyped-call]  # torch leaves it untyped
        dual = forward_ad.unpack_dual(perturb(process, x_0, eps, moved))  # type: ignore[no-untyped-call]  # and this
        assert torch.equal(dual.primal, want)
        assert torch.equal(dual.tangent, slope)


# Derivatives in t: NUM-4 carries through, never NaN.


def _through_perturb(process: NoiseProcess, x_0: Tensor, eps: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda t: perturb(process, x_0, eps, t[None]).sum()


@of_every_schedule
def test_the_slope_of_a_path_without_noise_is_that_of_its_mean(process: NoiseProcess) -> None:
    """NUM-4: with eps = 0, d x_t/dt = alpha'(t) x_0 at both ends, though sigma'(0) is infinite."""
    x_0, none = _wide(1.0, 2.0)[None], torch.zeros(1, 2, dtype=torch.float64)
    for t in (0.0, 0.5, 1.0):
        slope = grad(_through_perturb(process, x_0, none))(torch.tensor(t, dtype=torch.float64))
        assert slope == 3.0 * grad(lambda t: process.alpha(t))(torch.tensor(t, dtype=torch.float64))
        assert slope.isfinite()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@of_every_schedule
def test_no_slope_in_time_is_nan_at_the_ends(process: NoiseProcess, dtype: torch.dtype) -> None:
    """NUM-4: reverse mode through every function of t that has a value there, noise and single zeros among it."""
    x_0, eps = _normal(2, 3, dtype=dtype), torch.tensor([[0.0, 1.0, -1.0], [0.0, 0.0, 0.0]], dtype=dtype)
    ends, late = torch.tensor([0.0, 1.0], dtype=dtype), torch.tensor([0.5, 1.0], dtype=dtype)
    start = torch.zeros(2, dtype=dtype)
    functions: list[tuple[Tensor, Callable[[Tensor], Tensor]]] = [
        (ends, lambda t: perturb(process, x_0, eps, t)),
        (ends, lambda t: perturb(process, x_0, eps.flip(0), t)),
        (ends, lambda t: marginal(process, t).mean(x_0)),
        (late, lambda t: log_density(process, eps, x_0, t)),
        (late, lambda t: conditional_score(process, eps, x_0, t)),
        (late, lambda t: posterior_mean(process, eps, x_0, t=t, s=start)),
        (late / 2, lambda s: posterior_mean(process, eps, x_0, t=late, s=s)),
        (start, lambda s: posterior_mean(process, eps, x_0, t=late, s=s)),
        (late, lambda t: transition(process, t=t, s=t / 2).sigma),
    ]
    for i, (times, f) in enumerate(functions):
        t = times.clone().requires_grad_()
        (slope,) = torch.autograd.grad(f(t).sum(), t)
        assert not slope.isnan().any(), f"function {i}: {slope}"


def test_a_transition_of_no_length_keeps_the_slope_of_its_mean() -> None:
    """NUM-4 at s = t: sigma' is infinite, and where eps = 0 that leaves alpha' = -beta/2 untouched (was NaN)."""
    q, s = LinearSchedule(), _wide(0.5)

    def step(t: Tensor, eps: float) -> Tensor:
        on = transition(q, t=t[None], s=s)
        return (on.alpha + on.sigma * eps).sum()

    half = torch.tensor(0.5, dtype=torch.float64)
    assert abs(grad(step)(half, 0.0).item() + q.beta(half).item() / 2) <= 8 * U * 10
    assert grad(step)(half, 1.0) == torch.inf


# What is refused.


@pytest.mark.usefixtures("unhooked")
def test_mismatches_are_refused() -> None:
    """NOT-2: shapes and dtypes of data agree, and there is one time per example."""
    q, x, t = LinearSchedule(), torch.ones(2, 3), torch.full((2,), 0.5)
    with pytest.raises(DomainError, match=r"expected x_0 and eps of one shape and one dtype.* \(MAR-4\)$"):
        perturb(q, x, torch.ones(2, 1), t)
    with pytest.raises(DomainError, match=r"expected x_0 and eps .*float64.* \(MAR-4\)$"):
        perturb(q, x, x.double(), t)
    with pytest.raises(DomainError, match=r"expected a floating-point x_0.* \(MAR-4\)$"):
        perturb(q, x.long(), x.long(), t)
    with pytest.raises(DomainError, match=r"expected x_t and x_0 of one shape.* \(MAR-7\)$"):
        posterior_mean(q, x, x[:1], t=t, s=t / 2)
    for f in (log_density, conditional_score):
        with pytest.raises(DomainError, match=r"expected x_t and x_0 of one shape.* \(MAR-9\)$"):
            f(q, x, x.T, t)
    for bad in (t[:1], t[0], t[:, None], torch.full((3,), 0.5)):
        with pytest.raises(DomainError, match=r"expected t of shape \(2,\) to match data.* \(NOT-2\)$"):
            perturb(q, x, x, bad)


def test_times_of_the_wrong_kind_are_refused() -> None:
    """NOT-2: no bool, no complex; a schedule takes no index, and a chain no real time."""
    for dtype in (torch.bool, torch.complex64):
        with pytest.raises(DomainError, match=r"expected t of a float dtype, or an integer index.* \(NOT-2\)$"):
            marginal(LinearSchedule(), torch.ones(1, dtype=dtype))
    with pytest.raises(DomainError, match=r"expected floating-point t.* \(MAR-1\)$"):
        marginal(LinearSchedule(), torch.ones(1, dtype=torch.int64))
    with pytest.raises(DomainError, match=r"expected an integer index k.* \(DIS-1\)$"):
        marginal(CHAIN, torch.ones(1))


def test_times_out_of_order_are_refused() -> None:
    """MAR-6 requires s <= t, MAR-7 s < t, for schedules and chains; the error quotes the later time."""
    for process, s, t in ((LinearSchedule(), _wide(0.5), _wide(0.25)), (CHAIN, torch.tensor([5]), torch.tensor([3]))):
        with pytest.raises(DomainError, match=rf"expected .*, got {t.item()} \(MAR-6\)$"):
            transition(process, t=t, s=s)
        with pytest.raises(DomainError, match=rf"expected s < t, got {t.item()} \(MAR-7\)$"):
            posterior(process, t=t, s=s)
        with pytest.raises(DomainError, match=rf"expected s < t, got {s.item()} \(MAR-7\)$"):
            posterior(process, t=s, s=s)


def test_a_transition_from_alpha_zero_is_refused() -> None:
    """MAR-6: alpha(s) = 0 at s = 1 of cosine, a divisor."""
    with pytest.raises(DomainError, match=r"expected s in.* \(MAR-6\)$"):
        transition(CosineSchedule(), t=_wide(1.0), s=_wide(1.0))


def test_indices_out_of_order_are_nan_where_raising_is_impossible() -> None:
    """NUM-3: under vmap a chain masks as a schedule does, though an index itself holds no NaN."""
    k, j = torch.tensor([3, 7]), torch.tensor([5, 5])
    got = vmap(lambda s, t: posterior(CHAIN, t=t, s=s).variance)(j, k)
    assert got.isnan().tolist() == [True, False]
    assert got[1] == posterior(CHAIN, t=k[1], s=j[1]).variance
    assert vmap(lambda s, t: transition(CHAIN, t=t, s=s).sigma)(j, k).isnan().tolist() == [True, False]
