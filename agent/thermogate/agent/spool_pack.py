"""Payloads made small: zlib, begun with a dictionary of what every message says."""

import zlib

_DICTIONARY = (
    b"agent,node=node-0001 ticks_count=1i,late_count=0i,skipped_count=0i,spool_depth_count=1i,spool_bytes=1i,"
    b"spool_dropped_count=0i,spool_lost_count=0i,spool_oldest_s=1.,ack_age_s=1.,sweep_s=0.0,frugal=0i,"
    b"cpu_s=1.,rss_bytes=3 17"
    b'{"node":"node-0001","event":"job_began","time_ns":17,"text":"gpu0 ","device_kind":"gpu","device":"0",'
    b'"data":{"rle":0.,"rle_peak":0.,"t_sustain_s":600.0,"lasted_s":1.0}}'
    b"node,node=node-0001 power_w=5,mem_total_bytes=1,mem_available_bytes=1,cpu_stall_some_ratio=0.00,"
    b"mem_stall_some_ratio=0.0,mem_stall_full_ratio=0.0,io_stall_some_ratio=0.000,"
    b"io_stall_full_ratio=0.000 17"
    b"cpu,node=node-0001,device=0,model=Xeon util_ratio=0.,clock_hz=2,power_w=1,energy_j=1,temp_c=52.0,"
    b"power_limit_w=350.0,temp_limit_c=100.0,dram_power_w=3,dram_energy_j=4,throttled=0i,rle=0.0,rle_raw=0.0,"
    b"e_th=0.0,e_pw=0.,a_load_ratio=0.,t_sustain_s=600.0,rle_peak=0.0,collapse=0i 17"
    b"gpu,node=node-0001,device=0,model=NVIDIA-H100-80GB-HBM3 power_w=6,energy_j=1,temp_c=63.0,"
    b"util_ratio=0.9,power_limit_w=700.0,temp_limit_c=87.0,temp_margin_c=24.0,perf_state=0i,ecc_corrected_count=0i,"
    b"ecc_uncorrected_count=0i,throttled=0i,clock_event_sw_power_cap=0i,clock_event_sw_thermal=0i,"
    b"clock_event_hw_thermal=0i,clock_event_hw_power_brake=0i,clock_event_hw_slowdown=0i,"
    b"clock_event_sync_boost=0i,clock_event_app_clocks=0i,mem_temp_c=77.0,mem_util_ratio=0.4,"
    b"mem_used_bytes=7,mem_total_bytes=85520809984i,sm_clock_hz=1980000000.0,mem_clock_hz=2619000000.0,"
    b"fan_ratio=0.3,rle=0.4,rle_raw=0.4,e_th=0.4,e_pw=1.0,a_load_ratio=0.8,t_sustain_s=600.0,rle_peak=0.5,"
    b"collapse=0i 17"
)
"""Never to be changed: spools on disk were packed with it. Fields that it lacks only pack less well.

Another one needs another version in spool_format, which goes on reading with this one.
"""

_LEVEL = 3
"""4 % smaller than level 1 for the same time; level 6 saves 10 % more for twice the time."""
_WINDOW_BITS = 14
"""16 KiB, twice a message."""
_MAX_BYTES = 16 * 1024 * 1024
"""A message has at most 64 KiB. A list of stored ranges is longer the more gaps it has: some 300,000
fit here, and a week at 1 Hz has 302,400 at worst, every other record stored."""


def pack(payload: bytes) -> bytes:
    """The payload compressed."""
    packer = zlib.compressobj(level=_LEVEL, wbits=_WINDOW_BITS, zdict=_DICTIONARY)
    return packer.compress(payload) + packer.flush()


def unpack(packed: bytes) -> bytes:
    """What was packed, with the dictionary or, by version 1 of the format, without.

    Raises zlib.error for what was not packed so, or would be larger than the spool ever writes.
    """
    unpacker = zlib.decompressobj(zdict=_DICTIONARY)
    payload = unpacker.decompress(packed, _MAX_BYTES)
    if not unpacker.eof:
        raise zlib.error(f"an entry is cut, or over {_MAX_BYTES} bytes")
    return payload
