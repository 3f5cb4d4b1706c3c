<?php
// Tells VERSION of the instance's own environment, and works WORK microseconds (1000).
$number = (int) substr($_SERVER['QUERY_STRING'] ?? '', 2);
usleep((int) (getenv('WORK') ?: 1000));
echo "ok $number ", getenv('VERSION') ?: 0, ' ', getmypid(), ' ', str_repeat('.', 1023), " end $number\n";
