import pytest

from davidnet_keras.precision import choose_precision, for_cpu, for_gpu


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_what_is_asked_for_is_taken(policy):
    assert choose_precision(policy) == (policy, "as asked")


@pytest.mark.parametrize(
    ("flags", "policy"),
    [
        ({"avx512f", "amx_bf16"}, "mixed_bfloat16"),
        ({"avx512_bf16"}, "mixed_bfloat16"),
        ({"avx512f", "avx512_vnni"}, "float32"),
        (set(), "float32"),
    ],
)
def test_a_cpu_gets_bfloat16_only_where_it_has_the_instructions(flags, policy):
    assert for_cpu(flags)[0] == policy


@pytest.mark.parametrize(
    ("capabilities", "policy"),
    [
        ([(8, 0)], "mixed_bfloat16"),
        ([(9, 0), (7, 5)], "mixed_float16"),
        ([(7, 0)], "mixed_float16"),
        ([(6, 1)], "float32"),
        ([None], "float32"),
    ],
)
def test_gpus_get_what_the_oldest_of_them_has(capabilities, policy):
    assert for_gpu([{"compute_capability": capability} for capability in capabilities])[0] == policy


def test_auto_gives_a_policy_and_a_reason():
    policy, reason = choose_precision("auto")
    assert policy in ("float32", "mixed_bfloat16", "mixed_float16")
    assert reason
