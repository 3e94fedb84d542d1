(* Guarded dominance: a row that keeps the candidate of lowest loss, rounding being one of the
   candidates, never loses more than rounding; nor does the layer, whose loss is the sum over its rows.
   Nothing is asked of H: it may be singular, indefinite, not even symmetric. *)

From Coq Require Import Reals Lra Lia Arith List.
From Assay Require Import FiniteSums Quadratic Sweep.
Import ListNotations.
Open Scope R_scope.

(* The candidate of lowest loss; of equals, the earliest. The list is not empty: it begins with [first]. *)
Fixpoint lowest {A : Type} (loss : A -> R) (first : A) (others : list A) : A :=
  match others with
  | [] => first
  | next :: later => lowest loss (if Rlt_dec (loss next) (loss first) then next else first) later
  end.

Lemma lowest_is_a_candidate : forall A (loss : A -> R) others first,
  In (lowest loss first others) (first :: others).
Proof.
  intros A loss others; induction others as [|next later IH]; intros first; simpl; [tauto|].
  specialize (IH (if Rlt_dec (loss next) (loss first) then next else first)). simpl in IH.
  destruct (Rlt_dec (loss next) (loss first)); tauto.
Qed.

Lemma lowest_is_lowest : forall A (loss : A -> R) others first candidate,
  In candidate (first :: others) -> loss (lowest loss first others) <= loss candidate.
Proof.
  intros A loss others; induction others as [|next later IH]; intros first candidate listed.
  - destruct listed as [->|[]]. simpl. lra.
  - simpl. destruct (Rlt_dec (loss next) (loss first)) as [lower|]; destruct listed as [<-|[<-|listed]].
    + apply Rle_trans with (loss next); [|lra]. apply IH. left. reflexivity.
    + apply IH. left. reflexivity.
    + apply IH. right. assumption.
    + apply IH. left. reflexivity.
    + apply Rle_trans with (loss first); [|lra]. apply IH. left. reflexivity.
    + apply IH. right. assumption.
Qed.

(* Any units that are guarded apart and whose losses add up: rows, or granules of rows that share their
   blocks. *)
Theorem guarded_dominance :
  forall A units (loss : nat -> A -> R) (first naive : nat -> A) (others : nat -> list A),
  (forall u, (u < units)%nat -> In (naive u) (first u :: others u)) ->
  let guarded u := lowest (loss u) (first u) (others u) in
  (forall u, (u < units)%nat -> loss u (guarded u) <= loss u (naive u)) /\
  \sum_(u < units) loss u (guarded u) <= \sum_(u < units) loss u (naive u).
Proof.
  intros A units loss first naive others listed guarded.
  assert (each : forall u, (u < units)%nat -> loss u (guarded u) <= loss u (naive u)).
  { intros. apply lowest_is_lowest, listed. assumption. }
  split; [assumption|]. apply sum_le. assumption.
Qed.

(* Rows of a layer: a candidate is a row of decoded weights. *)
Theorem guarded_rows_never_lose_to_rounding :
  forall rows n H W (first naive : nat -> nat -> R) (others : nat -> list (nat -> R)),
  (forall r, (r < rows)%nat -> In (naive r) (first r :: others r)) ->
  let loss r q := quadratic n H (fun j => W r j - q j) in
  let guarded r := lowest (loss r) (first r) (others r) in
  (forall r, (r < rows)%nat -> loss r (guarded r) <= loss r (naive r)) /\
  layer_loss rows n H (fun r j => W r j - guarded r j) <= layer_loss rows n H (fun r j => W r j - naive r j).
Proof.
  intros rows n H W first naive others listed loss guarded.
  rewrite !layer_loss_by_rows. exact (guarded_dominance _ rows loss first naive others listed).
Qed.

(* The house's guard: rounding comes first, the sweep among the others. Whatever V the sweep ran with,
   right or wrong, the result loses no more than either. *)
Corollary guarded_sweep : forall n H V w Q others,
  let naive := rounded Q w in
  let swept := decoded (sweep V Q w n) in
  let loss q := quadratic n H (fun j => w j - q j) in
  let guarded := lowest loss naive (swept :: others) in
  loss guarded <= loss naive /\ loss guarded <= loss swept.
Proof.
  intros n H V w Q others naive swept loss guarded.
  split; apply lowest_is_lowest; simpl; auto.
Qed.
