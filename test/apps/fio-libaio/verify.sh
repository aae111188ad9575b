# How fast it went is left out, and the data has the time of each write in it: what is left is that every block is the
# one that was written there, and how many were.
set -e

fio --name=blocks --ioengine="$1" --direct=1 --rw=randwrite --bs=4k --iodepth=16 --numjobs=4 --size="$2" --randseed=7 \
  --verify=crc32c --verify_fatal=1 --verify_state_save=0 --filename_format='$jobname.$jobnum' --output-format=json \
  --output=report.json
grep -E '"(jobname|error|total_ios|io_kbytes|total_err)"' report.json
rm -f report.json blocks.*
