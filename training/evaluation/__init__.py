"""What a trained run is worth: probes, clustering, style, bounds, calibration and label-free health."""
