"""Settings of `thermogate doctor`."""

from thermogate.core.config import Settings


class DoctorSettings(Settings, frozen=True):
    """How long `thermogate doctor` waits, and from when on it warns."""

    deadline_s: float = 14.0
    """All checks run side by side; one that has no answer by then is told as such."""
    step_timeout_s: float = 4.0
    """For a step on the way to the broker, a program of systemd, the driver's start: a third of the above."""
    certificate_days: float = 14.0
    """A certificate that ends sooner is warned of: time to renew it in working hours."""
    clock_error_s: float = 5.0
    """The kernel's doubt grows by 0.5 ms a second while no time service speaks: 5 s is 3 h of that."""
    clock_jump_s: float = 2.0
    """A step of UTC between two files of the spool; slewing makes up to 1.2 s in the 40 minutes of one."""
    ack_age_s: float = 60.0
    """A collector acknowledges every 5 s: silence for twelve of its turns is no accident."""
    silence_s: float = 10.0
    """An agent that runs and has spooled nothing for as long hangs: ten ticks of the default period."""
    sweep_ratio: float = 0.5
    """Share of the period that reading all sensors may take; from 0.8 on devices are left out of ticks."""
