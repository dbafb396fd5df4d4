"""The networks of published state dicts, which do not say themselves what network they belong to. Pure."""

from dataclasses import dataclass

from diip_jax.convert.scheduler_configs import KARRAS
from diip_jax.models import ModelConfig
from diip_jax.models.adm_unet import ADMUNetConfig
from diip_jax.models.ddpm_unet import DDPMUNetConfig
from diip_jax.prediction import Prediction
from diip_jax.schedule import Sampler, Schedule


@dataclass(frozen=True)
class Preset:
    """What has to be known of a state dict.

    Attributes:
        model: the network.
        schedule: its noise schedule.
        prediction: what its output is.
        new_attention_order: how the fused attention weights of an ADM file are laid out (guided-diffusion's flag
            `use_new_attention_order`); shapes do not tell.
        sampler: how it is sampled.
    """

    model: ModelConfig
    schedule: Schedule = Schedule()
    prediction: Prediction = "epsilon"
    new_attention_order: bool = False
    sampler: Sampler = Sampler()


_DDPM_256 = Preset(DDPMUNetConfig(256, (128, 128, 256, 256, 512, 512), (False, False, False, False, True, False)))
_DDPM_CIFAR10 = Preset(DDPMUNetConfig(32, (128, 256, 256, 256), (False, True, False, False)))
_DDIM_CELEBA_64 = Preset(DDPMUNetConfig(64, (128, 256, 256, 256, 512), (False, False, True, False, False)))
_FACES64 = Preset(
    DDPMUNetConfig(64, (32, 64, 128, 192), (False, False, True, True), blocks_per_level=1, norm_groups=16)
)

# channel_mult by image_size: `create_model` of guided-diffusion and of improved-diffusion.
_CHANNEL_MULT = {
    32: (1, 2, 2, 2),
    64: (1, 2, 3, 4),
    128: (1, 1, 2, 3, 4),
    256: (1, 1, 2, 2, 4, 4),
    512: (0.5, 1, 1, 2, 2, 4, 4),
}


def _adm(
    image_size: int,
    num_channels: int,
    num_res_blocks: int,
    attention_resolutions: tuple[int, ...],
    *,
    class_cond: bool = False,
    learn_sigma: bool = True,
    num_heads: int | None = None,
    scale_shift: bool = True,
    resblock_updown: bool = True,
    timestep_scale: float = 1.0,
) -> ADMUNetConfig:
    """A network by the flags of the projects' own READMEs (MODEL_FLAGS); heads are 64 wide without `num_heads`."""
    multipliers = _CHANNEL_MULT[image_size]
    return ADMUNetConfig(
        image_size=image_size,
        model_channels=num_channels,
        block_channels=tuple(int(num_channels * multiplier) for multiplier in multipliers),
        attention_levels=tuple(image_size // 2**level in attention_resolutions for level in range(len(multipliers))),
        blocks_per_level=num_res_blocks,
        out_channels=6 if learn_sigma else 3,
        head_channels=64 if num_heads is None else None,
        heads=num_heads,
        num_classes=1000 if class_cond else None,
        scale_shift=scale_shift,
        resblock_updown=resblock_updown,
        timestep_scale=timestep_scale,
    )


_COSINE = Schedule(beta_schedule="cosine")
_COSINE_4000 = Schedule(4000, beta_schedule="cosine")
_ADM_LIGHT = Preset(_adm(256, 128, 1, (16,)))
_ADM_256 = Preset(_adm(256, 256, 2, (32, 16, 8)))
_IMPROVED_LSUN = Preset(_adm(256, 128, 2, (16,), num_heads=1, scale_shift=False, resblock_updown=False))
_IMPROVED_IMAGENET64 = Preset(
    _adm(64, 128, 3, (16, 8), num_heads=4, resblock_updown=False, timestep_scale=0.25), _COSINE_4000
)
_IMPROVED_CIFAR10 = Preset(
    _adm(32, 128, 3, (16, 8), num_heads=4, resblock_updown=False, timestep_scale=0.25), _COSINE_4000
)
_CM_IMAGENET64 = _adm(64, 192, 3, (32, 16, 8), class_cond=True, learn_sigma=False)
_CM_LSUN256 = _adm(256, 256, 2, (32, 16, 8), learn_sigma=False, scale_shift=False)
_EDM_IMAGENET64 = Preset(_CM_IMAGENET64, KARRAS, "edm", new_attention_order=True)
_EDM_LSUN256 = Preset(_CM_LSUN256, KARRAS, "edm", new_attention_order=True)
_CONSISTENCY_IMAGENET64 = Preset(_CM_IMAGENET64, KARRAS, "consistency", new_attention_order=True)
_CONSISTENCY_LSUN256 = Preset(_CM_LSUN256, KARRAS, "consistency", new_attention_order=True)

# Several names for one network, so that everybody finds the name of his file. checkpoints/README.md says where each is
# published.
PRESETS: dict[str, Preset] = {
    "faces64": _FACES64,
    # google/ddpm-* on the Hugging Face Hub; a folder with config.json needs no preset
    "ddpm-cifar10-32": _DDPM_CIFAR10,
    "ddpm-celebahq-256": _DDPM_256,
    "ddpm-ema-celebahq-256": _DDPM_256,
    "ddpm-church-256": _DDPM_256,
    "ddpm-ema-church-256": _DDPM_256,
    "ddpm-bedroom-256": _DDPM_256,
    "ddpm-ema-bedroom-256": _DDPM_256,
    "ddpm-cat-256": _DDPM_256,
    "ddpm-ema-cat-256": _DDPM_256,
    # SDEdit: celeba_hq.ckpt (also BIRD's, DDRM's, DDNM's), church_outdoor.ckpt, bedroom.ckpt
    "sdedit-celebahq-256": _DDPM_256,
    "sdedit-church-256": _DDPM_256,
    "sdedit-bedroom-256": _DDPM_256,
    # pesser/pytorch_diffusion; the ema_ files are the same networks
    "pesser-cifar10": _DDPM_CIFAR10,
    "pesser-lsun-bedroom": _DDPM_256,
    "pesser-lsun-cat": _DDPM_256,
    "pesser-lsun-church": _DDPM_256,
    # ermongroup/ddim, configs/celeba.yml
    "ddim-celeba-64": _DDIM_CELEBA_64,
    # jychoi118/ilvr_adm: ffhq_10m.pt (also DPS's, BlindDPS's, DMPlug's), afhq_dog_4m.pt
    "ffhq_10m": _ADM_LIGHT,
    "afhq_dog_4m": _ADM_LIGHT,
    # jychoi118/P2-weighting; its *_baseline.pt are the same networks
    "ffhq_p2": _ADM_LIGHT,
    "celebahq_p2": _ADM_LIGHT,
    "afhq_p2": _ADM_LIGHT,
    "cub_p2": _ADM_LIGHT,
    "flower_p2": _ADM_LIGHT,
    "metface_p2": _ADM_LIGHT,
    # openai/guided-diffusion: {64x64,128x128,256x256,512x512}_diffusion.pt, 256x256_diffusion_uncond.pt, lsun_*.pt
    "imagenet64_cond": Preset(_adm(64, 192, 3, (32, 16, 8), class_cond=True), _COSINE, new_attention_order=True),
    "imagenet128_cond": Preset(_adm(128, 256, 2, (32, 16, 8), class_cond=True, num_heads=4)),
    "imagenet256_cond": Preset(_adm(256, 256, 2, (32, 16, 8), class_cond=True)),
    "imagenet512_cond": Preset(_adm(512, 256, 2, (32, 16, 8), class_cond=True)),
    "imagenet256_uncond": _ADM_256,
    "lsun_bedroom": _ADM_256,
    "lsun_cat": _ADM_256,
    "lsun_horse": _ADM_256,
    "lsun_horse_nodropout": _ADM_256,
    # openai/improved-diffusion: the files whose names begin so
    "imagenet64_uncond_100M": _IMPROVED_IMAGENET64,
    "imagenet64_uncond_vlb_100M": _IMPROVED_IMAGENET64,
    "imagenet64_cond_270M": Preset(
        _adm(64, 192, 3, (16, 8), class_cond=True, num_heads=4, resblock_updown=False), _COSINE_4000
    ),
    "cifar10_uncond_50M": _IMPROVED_CIFAR10,
    "cifar10_uncond_vlb_50M": _IMPROVED_CIFAR10,
    "lsun_uncond_100M": _IMPROVED_LSUN,
    # openai/consistency_models
    "edm_imagenet64_ema": _EDM_IMAGENET64,
    "cd_imagenet64_l2": _CONSISTENCY_IMAGENET64,
    "cd_imagenet64_lpips": _CONSISTENCY_IMAGENET64,
    "ct_imagenet64": _CONSISTENCY_IMAGENET64,
    "edm_bedroom256_ema": _EDM_LSUN256,
    "cd_bedroom256_l2": _CONSISTENCY_LSUN256,
    "cd_bedroom256_lpips": _CONSISTENCY_LSUN256,
    "ct_bedroom256": _CONSISTENCY_LSUN256,
    "edm_cat256_ema": _EDM_LSUN256,
    "cd_cat256_l2": _CONSISTENCY_LSUN256,
    "cd_cat256_lpips": _CONSISTENCY_LSUN256,
    "ct_cat256": _CONSISTENCY_LSUN256,
}
