"""What keyman decides, as pure functions over plain values: no clock, network, disk or dice."""
