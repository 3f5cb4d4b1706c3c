"""Speed and size of fcgipm, measured beside other programs in the same run on the same machine: ``make bench``."""
