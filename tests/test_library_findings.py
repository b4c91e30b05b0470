"""Each finding of validation/targets/FINDINGS.md, against the library alone; a test fails when the library is mended.

A library that is not installed is skipped.
"""

from __future__ import annotations

import math
import re
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.repaired import reab

PAGE = Path(__file__).parents[1] / "validation" / "targets" / "FINDINGS.md"

pytestmark = pytest.mark.filterwarnings("ignore")


class Answer(nn.Module):
    """A network that answers by a function, with the attributes that lucidrains' classes ask for."""

    channels = out_dim = 1
    self_condition = random_or_learned_sinusoidal_cond = False

    def __init__(self, answer: Any) -> None:
        """Store the function."""
        super().__init__()
        self.answer = answer

    def forward(self, *given: Any) -> Any:
        """Return the answer."""
        return self.answer(*given)


def _exact_eps(table: Tensor, k: int, x: Tensor, variance: float) -> Tensor:
    """Return E[eps | x_t] of data with the law N(0, variance)."""
    return (1 - table[k]).sqrt() * x / (table[k] * variance + 1 - table[k])


def _monai(name: str, **options: Any) -> Any:
    return getattr(pytest.importorskip("monai.networks.schedulers"), name)(1000, clip_sample=False, **options)


def test_monai_add_noise_overwrites_its_table() -> None:
    """After one call in bfloat16, float32 calls add no noise at the first step (0.01 before)."""
    scheduler, one, k = _monai("DDPMScheduler"), torch.ones(1, 1), torch.tensor([0])
    assert scheduler.add_noise(0 * one, one, k).item() == pytest.approx(0.01, rel=1e-3)
    scheduler.add_noise(one.bfloat16(), one.bfloat16(), k)
    assert scheduler.add_noise(0 * one, one, k).item() == 0.0


def test_monai_ddpm_steps_over_one_k_whatever_the_grid() -> None:
    """Ten exact steps on data with deviation 0.1 end near 0.94: each step removes the noise of one k of a thousand."""
    scheduler = _monai("DDPMScheduler")
    scheduler.set_timesteps(10)
    torch.manual_seed(0)
    x = torch.randn(4000, 1)
    for k in scheduler.timesteps.tolist():
        x = scheduler.step(_exact_eps(scheduler.alphas_cumprod, k, x, 0.01), k, x)[0]
    assert x.std() > 0.8


def _missed(timesteps: list[int], stride: int) -> int:
    """Return how many steps of `stride` end elsewhere than where the next begins."""
    return sum(k - stride != later for k, later in pairwise(timesteps))


def test_monai_ddim_grid_is_not_its_stride() -> None:
    """With 10 steps the grid goes by 111, and each step by 100."""
    scheduler = _monai("DDIMScheduler")
    scheduler.set_timesteps(10)
    assert _missed(scheduler.timesteps.tolist(), 100) == 9


def test_monai_learned_range_interpolates_variances() -> None:
    """Halfway between the two variances it takes their mean (1.63 of the geometric mean here), not that of the logs."""
    scheduler = _monai("DDPMScheduler", variance_type="learned_range")
    scheduler.betas[10] = 1e-2 * scheduler.betas[10]
    alpha_bar, beta = scheduler.alphas_cumprod, scheduler.betas[10]
    small = (1 - alpha_bar[9]) / (1 - alpha_bar[10]) * beta
    x = torch.zeros(1, 1, 64, 64)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    moved = scheduler.step(torch.zeros(1, 2, 64, 64), 10, x, generator=torch.Generator().manual_seed(0))[0]
    variance = float((moved / noise).square().mean())
    assert variance == pytest.approx(float(small + beta) / 2, rel=1e-4)


def test_diffusers_linspace_ddim_grid_is_not_its_stride() -> None:
    """With 50 steps, 19 of 49 end on a timestep beside the next."""
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    scheduler = DDIMScheduler(1000, timestep_spacing="linspace")
    scheduler.set_timesteps(50)
    assert _missed(scheduler.timesteps.tolist(), 20) == 19


def test_diffusers_dpm_solver_adds_the_noise_of_another_time() -> None:
    """A timestep that is not on the grid of 20 gets the last one's noise: 0.173 for 0.015."""
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

    scheduler = DPMSolverMultistepScheduler(1000)
    scheduler.set_timesteps(20)
    sigma = scheduler.add_noise(torch.zeros(1), torch.ones(1), torch.tensor([1])).item()
    assert sigma > 10 * math.sqrt(1 - scheduler.alphas_cumprod[1].item())


def test_diffusers_fixed_large_log_is_nan() -> None:
    """The root of a logarithm of a variance."""
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    scheduler = DDPMScheduler(1000, variance_type="fixed_large_log")
    assert scheduler.step(torch.zeros(1, 1), 10, torch.zeros(1, 1)).prev_sample.isnan().all()


def test_diffusers_adds_no_noise_in_bfloat16() -> None:
    """1 - alpha_bar is 0 at the first steps, because alpha_bar is rounded first: 0 for 0.030."""
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    one = torch.ones(1, dtype=torch.bfloat16)
    assert DDPMScheduler(1000).add_noise(0 * one, one, torch.tensor([5])).item() == 0.0


def _gaussian_diffusion(answer: Any, name: str = "GaussianDiffusion", out_dim: int = 1, **options: Any) -> Any:
    network = Answer(answer)
    network.out_dim = out_dim
    kind = getattr(pytest.importorskip("denoising_diffusion_pytorch"), name)
    return kind(network, image_size=4, auto_normalize=False, **options)


def test_lucidrains_immiscible_noise_is_not_the_target() -> None:
    """A network that tells the noise in x_t exactly has a loss of about 1 instead of 0."""
    torch.manual_seed(0)
    x_0, noise, k = torch.randn(8, 1, 4, 4), torch.randn(8, 1, 4, 4), torch.full((8,), 500)
    model = _gaussian_diffusion(None, immiscible=True, objective="pred_noise")
    alpha, sigma = model.sqrt_alphas_cumprod[500], model.sqrt_one_minus_alphas_cumprod[500]
    model.model.answer = lambda x, *_: (x - alpha * x_0) / sigma
    assert model.p_losses(x_0, k, noise) > 0.1


def test_lucidrains_linear_schedule_of_few_steps_is_nan() -> None:
    """With 10 timesteps the betas reach 2."""
    model = _gaussian_diffusion(None, beta_schedule="linear", timesteps=10)
    assert model.betas.max() == 2.0
    assert model.sqrt_alphas_cumprod.isnan().any()


def test_lucidrains_interpolation_starts_a_step_late() -> None:
    """Data noised at t = 50 meet the network at t = 49."""
    seen: list[int] = []

    def answer(x: Tensor, t: Tensor, _: None) -> Tensor:
        seen.append(int(t[0]))
        return x

    model = _gaussian_diffusion(answer, timesteps=100, objective="pred_noise")
    model.interpolate(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4), t=50)
    assert seen[0] == 49


def test_lucidrains_learned_variance_ignores_the_objective() -> None:
    """A perfect prediction of x_0 has a loss, as it is compared with the noise; and predictions are a NameError."""
    x_0 = torch.zeros(4, 1, 4, 4)
    options: dict[str, Any] = {"name": "LearnedGaussianDiffusion", "out_dim": 2, "objective": "pred_x0"}
    model = _gaussian_diffusion(lambda *_: torch.zeros(4, 2, 4, 4), **options)
    assert model.p_losses(x_0, torch.full((4,), 500), torch.ones_like(x_0)) > 0.9
    with pytest.raises(NameError, match="identity"):
        model.model_predictions(x_0, torch.full((4,), 500))


def _order(sampler: Any, schedule: Any) -> float:
    """Return the order of a sampler of azula on data with the law N(0, 0.01), from 64 steps to 128."""
    posterior = pytest.importorskip("azula.denoise").DiracPosterior
    one = torch.ones(1, 1, dtype=torch.float64)

    def answer(x: Tensor, t: Tensor) -> Any:
        alpha, sigma = schedule(t)
        return posterior(mean=0.01 * alpha * x / (0.01 * alpha**2 + sigma**2))

    denoiser: Any = Answer(answer)
    denoiser.schedule = schedule
    deviations = [(0.01 * a**2 + s**2).sqrt() for a, s in (schedule(t * one) for t in (0.02, 1.0))]
    errors = []
    for steps in (64, 128):
        run = sampler(denoiser, stop=0.02, steps=steps, silent=True, dtype=torch.float64)
        errors.append(float((run(one) - deviations[0] / deviations[1]).abs()))
    return math.log2(errors[0] / errors[1])


def test_azula_reab_sampler_is_of_the_first_order() -> None:
    """Its order is 1.3, that of its repair by one name 1.9, as that of zEABSampler, another of the second order."""
    sample = pytest.importorskip("azula.sample")
    schedule = pytest.importorskip("azula.noise").VPSchedule()
    assert _order(sample.REABSampler, schedule) < 1.4
    assert _order(reab(), schedule) > 1.8
    assert _order(sample.zEABSampler, schedule) > 1.8


def test_azula_cosine_alpha_is_negative() -> None:
    """At t = 1 in float32 alpha is -4e-8 where 1e-8 was asked for."""
    assert pytest.importorskip("azula.noise").CosineSchedule(alpha_min=1e-8).alpha(torch.ones(1)).item() < 0


def _score_model(**options: Any) -> Any:
    return pytest.importorskip("score_models").ScoreModel(device="cpu", **options)


def test_score_models_refuses_an_sde() -> None:
    """`sde` may be an SDE by its type, and is an AttributeError."""
    sde = pytest.importorskip("score_models.sde").VPSDE()
    with pytest.raises(AttributeError, match="lower"):
        _score_model(model=nn.Identity(), sde=sde)


def test_score_models_samples_a_step_ahead_and_leaves_out_the_last() -> None:
    """Of 10 steps 9 are made; x of t = 1 meets the network at t = 0.9, and the samples keep the noise of t = 0.1."""
    seen: list[float] = []

    def minus_eps(t: Tensor, x: Tensor) -> Tensor:
        seen.append(round(float(t[0]), 2))
        alpha_bar = torch.exp(-9.95 * t[0] ** 2 - 0.1 * t[0])
        return -(1 - alpha_bar).sqrt() * x / (0.01 * alpha_bar + 1 - alpha_bar)

    torch.manual_seed(0)
    samples = _score_model(model=Answer(minus_eps), sde="vp", beta_min=0.1, beta_max=20.0).sample([4000, 1], 10)
    assert (len(seen), seen[0], seen[-1]) == (9, 0.9, 0.1)
    assert samples.std() > 0.3  # of data with the deviation 0.1


def test_score_models_log_likelihood_is_nan() -> None:
    """Of a VP model, by default; from epsilon on it is that of N(0, 1), of which the network tells the score."""

    def minus_eps(t: Tensor, x: Tensor) -> Tensor:
        return -(1 - torch.exp(-9.95 * t**2 - 0.1 * t)).sqrt()[:, None] * x

    model = _score_model(model=Answer(minus_eps), sde="vp", beta_min=0.1, beta_max=20.0)
    assert model.log_likelihood(torch.ones(1, 1), ode_steps=50).isnan().all()
    right = model.log_likelihood(torch.ones(1, 1), ode_steps=50, t0=model.sde.epsilon)
    assert right.item() == pytest.approx(-0.5 - 0.5 * math.log(2 * math.pi), rel=1e-4)


def test_smalldiffusion_repeats_its_last_noise_level() -> None:
    """A run of 667 to 1000 steps of 1000 ends with a step from sigma to the same sigma, and keeps that noise."""
    schedule = pytest.importorskip("smalldiffusion").ScheduleDDPM(1000)
    ends = {steps: schedule.sample_sigmas(steps)[-2:].tolist() for steps in (666, 667, 1000)}
    assert ends[1000][0] == ends[1000][1] > 0.0
    assert ends[667][0] == ends[667][1]
    assert ends[666][0] > ends[666][1]


def _flow(beta_min: float = 0.1) -> tuple[Any, Any]:
    scheduler = pytest.importorskip("flow_matching.path.scheduler").VPScheduler(beta_min, 20.0)
    return scheduler, pytest.importorskip("flow_matching.path").AffineProbPath(scheduler)


def test_flow_matching_conversions_mix_times_and_features() -> None:
    """With as many examples as numbers, alpha of example i divides column i; with another number it is an error."""
    scheduler, path = _flow()
    x, t = torch.ones(3, 3), torch.tensor([0.2, 0.5, 0.8])
    wrong = path.epsilon_to_target(torch.zeros(3, 3), x, t)
    assert torch.equal(wrong, x / scheduler(t).alpha_t)
    assert not torch.allclose(wrong, x / scheduler(t).alpha_t[:, None])
    with pytest.raises(RuntimeError, match="must match the size"):
        path.epsilon_to_target(torch.zeros(4, 2), torch.zeros(4, 2), torch.rand(4))


def test_flow_matching_inverse_of_a_constant_schedule_is_nan() -> None:
    """`snr_inverse` divides by beta_max - beta_min."""
    scheduler, _ = _flow(beta_min=20.0)
    at = scheduler(torch.tensor([0.5]))
    assert scheduler.snr_inverse(at.alpha_t / at.sigma_t).isnan().all()


def test_flow_matching_velocity_at_the_data_is_infinite() -> None:
    """At t = 1, which is in the documented range, the target of training is -inf."""
    one = torch.ones(1, 1)
    assert _flow()[1].sample(x_0=one, x_1=one, t=torch.ones(1)).dx_t.isinf().all()


def test_k_diffusion_noise_level_of_pure_noise_is_negative() -> None:
    """The tangent of pi/2 in float32."""
    external = pytest.importorskip("k_diffusion.external")
    assert external.VDenoiser(None).t_to_sigma(torch.ones(1)).item() < -1e7


def test_k_diffusion_v_loss_cancels() -> None:
    """For x_0 = eps = 1 and sigma = 1e-6 the target is off by 5%: the loss of the prediction 0 should be 1."""
    model = pytest.importorskip("k_diffusion.external").VDenoiser(lambda x, _: 0 * x)
    assert abs(model.loss(torch.ones(1, 1), torch.ones(1, 1), torch.tensor([1e-6])).item() - 1) > 0.03


def test_k_diffusion_multistep_sde_samplers_raise_for_one_step() -> None:
    """From one noise level to 0, they keep the length of a step that they have not computed."""
    sampling = pytest.importorskip("k_diffusion.sampling")
    for run in (sampling.sample_dpmpp_2m_sde, sampling.sample_dpmpp_3m_sde):
        with pytest.raises(UnboundLocalError, match="'h'"):
            run(lambda x, _: x, torch.ones(1, 1), torch.tensor([1.0, 0.0]), disable=True)


def test_diffusionjax_edm2_loss_uses_one_key_twice() -> None:
    """The noise level of example i is a function of pixel i of the noise of example 0."""
    utils = pytest.importorskip("diffusionjax.utils")
    import jax
    import jax.numpy as jnp

    seen: list[Any] = []

    def apply(_: None, x: Any, sigma: Any, __: None) -> tuple[Any, float]:
        seen.extend([x, sigma])
        return x, 0.0

    utils.EDM2Loss(SimpleNamespace(apply=apply), 1.0)(None, jax.random.key(1), jnp.zeros((4, 4, 4, 1)))
    levels, noise = jnp.log(seen[1].ravel()) + 0.4, (seen[0] / seen[1]).ravel()[:4]
    assert jnp.allclose(levels, noise, atol=1e-5)


def test_diffusionjax_langevin_corrector_lacks_a_root() -> None:
    """The noise of a step of length dt has the deviation 2 dt, where Langevin's is sqrt(2 dt)."""
    solvers = pytest.importorskip("diffusionjax.solvers")
    import jax
    import jax.numpy as jnp

    sde = SimpleNamespace(score=lambda x, _: -x, mean_coeff=jnp.ones_like, prior=None)
    solver = solvers.Annealed(sde, snr=0.1, ts=jnp.arange(1.0, 3.0))
    x = jax.random.normal(jax.random.key(0), (1, 500, 64))
    moved, mean = jax.vmap(lambda x, t: solver.update(jax.random.key(1), x, t), axis_name="batch")(
        x, jnp.ones((1, 500))
    )
    dt = float(((x - mean) / x).mean())
    assert float((moved - mean).std()) == pytest.approx(2 * dt, rel=0.02)
    assert 2 * dt < 0.3 * math.sqrt(2 * dt)


def test_diffusionjax_cosine_schedule_is_dead() -> None:
    """`jnp.clip` has no `a_max` any more; and alpha at t = 0 is not 1."""
    utils = pytest.importorskip("diffusionjax.utils")
    beta, alpha = utils.get_cosine_beta_function(20.0)
    with pytest.raises(TypeError, match="a_max"):
        beta(0.5)
    assert float(alpha(0.0)) < 0.995


def test_optax_average_of_bfloat16_never_moves() -> None:
    """One step of 1e-3 from 1 towards 2 rounds back to 1, for ever."""
    optax = pytest.importorskip("optax")
    import jax.numpy as jnp

    one = jnp.ones(1, dtype=jnp.bfloat16)
    assert optax.incremental_update(2 * one, one, 1e-3).item() == 1.0


def test_optax_debiased_average_loses_its_digits() -> None:
    """The first average is the first of the weights, and is off by 1.7e-4 of it at the decay 0.9999."""
    optax = pytest.importorskip("optax")
    import jax.numpy as jnp

    average = optax.ema(0.9999)
    first, _ = average.update(jnp.ones(1), average.init(jnp.ones(1)))
    assert abs(first.item() - 1) > 1e-4


def test_every_finding_has_a_reproducer() -> None:
    """The page names each test of a finding once, and no other."""
    named = re.findall(r"^\*\*Reproduced by:\*\* `(\w+)`\.$", PAGE.read_text(encoding="utf-8"), re.M)
    files = sorted(Path(__file__).parent.glob("test_*_findings.py"))
    mine = {name for file in files for name in re.findall(r"^def (test_\w+)", file.read_text(encoding="utf-8"), re.M)}
    mine -= {"test_every_finding_has_a_reproducer", "test_third_step_of_a_line_is_exact"}
    assert sorted(named) == sorted(mine)
