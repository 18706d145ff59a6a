//! The store, from outside: through its port, on real directories.

#[cfg(test)]
mod restore_by_hand;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod store_backup;
#[cfg(test)]
mod store_crash;
#[cfg(test)]
mod store_full;
#[cfg(test)]
mod store_golden;
#[cfg(test)]
mod store_hostile;
#[cfg(test)]
mod store_journal;
#[cfg(test)]
mod store_keep;
#[cfg(test)]
mod store_last;
#[cfg(test)]
mod store_lock;
#[cfg(test)]
mod store_transfer;
#[cfg(test)]
mod store_verify;
