"""Figures show the numbers they are given."""

from img2img_jax.lab import plots


def test_curves_with_their_lines(results):
    figure, [[axes]] = plots.new_figure(1, 1)
    plots.draw_curve(axes, results, "l1", by="group")
    by_label = {line.get_label(): line for line in axes.get_lines()}
    assert set(by_label) == {"a", "b", "VAE round trip"}
    assert by_label["a"].get_ydata().tolist() == [mean.mean for _, mean in results.curve("l1", group="a")]
    assert set(by_label["VAE round trip"].get_ydata()) == {0.05}
    assert len(axes.collections) == 2  # the intervals


def test_log_snr_falls_to_the_right(results):
    _, [[axes]] = plots.new_figure(1, 1)
    plots.draw_curve(axes, results, "l1", over="log_snr")
    assert axes.get_xlim()[0] > axes.get_xlim()[1]


def test_heat_maps_and_paths(results):
    _, [[left, right]] = plots.new_figure(1, 2)
    plots.draw_heat_map(left, results, "l1", x="seed")
    assert left.get_images()[0].get_array().round(3).tolist() == [[0, 0.1], [0.25, 0.35], [0.5, 0.6]]
    plots.draw_path(right, results, "l1", "psnr")
    assert right.get_lines()[0].get_xydata().round(3).tolist() == [[0.3, 15], [0.55, 10]]
    assert [text.get_text() for text in right.texts] == ["0.5", "1"]


def test_equal_figures_give_equal_files(results, tmp_path):
    def drawn(name):
        figure, [[axes]] = plots.new_figure(1, 1)
        plots.draw_curve(axes, results, "l1", by="group")
        plots.save(figure, tmp_path / name / "figure")
        return [(tmp_path / name / f"figure{suffix}").read_bytes() for suffix in (".png", ".svg")]

    assert drawn("one") == drawn("two")
