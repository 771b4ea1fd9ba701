"""What is read out of the compiler's text."""

from img2img_jax.aot import hlo

TEXT = """
  %fusion = bf16[2,8]{1,0} fusion(%p), backend_config={"estimated_cycles":"120","x":1}
  %c = f32[4]{0} custom-call(%p), custom_call_target="tpu_custom_call", backend_config={"estimated_cycles":"3"}
  %all-reduce.1 = f32[16,4]{1,0:T(8,128)} all-reduce(%fusion), replica_groups={{0,1}}, to_apply=%add
  %ag = (bf16[2]{0}, bf16[8]{0}) all-gather-start(%x), dimensions={0}
  %agd = bf16[8]{0} all-gather-done(%ag)
  %pair = (f32[3]{0}, pred[5]{0}) all-reduce(%a, %b), to_apply=%add
  %get = f32[16,4]{1,0} get-tuple-element(%all-reduce.1), index=0
"""


def test_cycles_are_summed():
    assert hlo.estimated_cycles(TEXT) == 123


def test_collectives_are_counted_once_with_the_bytes_of_their_results():
    assert hlo.collectives(TEXT) == {"all-gather": (1, 16), "all-reduce": (2, 16 * 4 * 4 + 3 * 4 + 5)}


def test_kernels_are_counted():
    assert hlo.kernels(TEXT) == 1
